"""Pretraining as a stage: its files, its metrics, and what it keeps for a next attempt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasks import tables, tracking
from tasks.training import CURVES, ArchitectureConfig, History, _curve_row


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, dict[str, float]]]:
    """What goes to MLflow."""
    found: list[tuple[int, dict[str, float]]] = []
    monkeypatch.setattr(tracking, "log_step", lambda step, values: found.append((step, dict(values))))
    return found


def test_a_next_attempt_replays_the_kept_steps_and_logs_a_repeated_one_once(
    tmp_path: Path, logged: list[Any]
) -> None:
    path = tmp_path / "checkpoints" / "metrics.jsonl"
    first = History(path)
    for step in (1, 2, 3):
        first.take(step, {"loss": float(step)})
    logged.clear()
    second = History(path)
    assert logged == [(1, {"loss": 1.0}), (2, {"loss": 2.0}), (3, {"loss": 3.0})]
    second.take(3, {"loss": 3.0})
    second.take(4, {"loss": 4.0})
    assert logged[3:] == [(4, {"loss": 4.0})]
    assert [step for step, _ in second.rows()] == [1, 2, 3, 4]


def test_a_line_that_was_being_written_when_the_process_died_is_passed_over(
    tmp_path: Path, logged: list[Any]
) -> None:
    path = tmp_path / "metrics.jsonl"
    History(path).take(1, {"loss": 1.0})
    with path.open("a", encoding="utf-8") as handle:
        handle.write('[2, {"lo')
    second = History(path)
    second.take(2, {"loss": 2.0})
    assert History(path).rows()[-1] == (2, {"loss": 2.0})
    assert len(logged) >= 2


def test_a_curve_keeps_no_number_that_differs_between_runs(tmp_path: Path) -> None:
    values = {"loss": 2.0, "tokens": 512.0, "tokens_per_second": 9.0, "validation/bits_per_byte": 1.5}
    tables.write(tmp_path / "curves.parquet", [_curve_row(7, values)], CURVES)
    (row,) = tables.iterate(tmp_path / "curves.parquet")
    assert (row["step"], row["tokens"], row["loss"], row["validation_bits_per_byte"]) == (7, 512, 2.0, 1.5)
    assert "tokens_per_second" not in row


def test_the_vocabulary_comes_from_the_tokenizer() -> None:
    shape = ArchitectureConfig().build(vocab_size=777, context_length=64)
    assert (shape.vocab_size, shape.max_position_embeddings) == (777, 64)
