"""Pretraining as a stage: its files, its metrics, and what it keeps for a next attempt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from models.export import load_pretrained
from models.ranks import RankJob
from models.ranks_config import RanksConfig
from models.trainer import train
from models.training_config import TrainingConfig
from tasks import metric_stream, tables
from tasks.artifacts import Artifact, Store, fingerprint_of
from tasks.errors import ConfigError
from tasks.launch import WaitingForRanksError
from tasks.tokenization import TokenizationConfig, tokenize
from tasks.training import CURVES, ArchitectureConfig, History, PretrainingConfig, _curve_row, pretrain


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, dict[str, float]]]:
    """What goes to MLflow."""
    found: list[tuple[int, dict[str, float]]] = []
    monkeypatch.setattr(metric_stream, "log_step", lambda step, values: found.append((step, dict(values))))
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


def _shards(folder: Path, text: str, former: Artifact | None = None) -> Artifact:
    """Tokens of a corpus of ours; with ``former``, prepared for going on."""
    fixed = {"domain": "books", "language": "en", "source": "s", "uri": "u", "licence": "l", "sha256": "0"}
    splits = ["train"] * 12 + ["validation", "test"]
    rows = [
        {
            "id": f"{text[:3]}{i}",
            "split": split,
            "text": f"{text} number {i}. " * 12,
            "words": 9,
            "bytes": 1,
            **fixed,
        }
        for i, split in enumerate(splits)
    ]
    tables.write(folder / "clean" / "documents.parquet", rows, tables.CLEAN_DOCUMENTS)
    clean = Artifact(stage="cleaning", fingerprint="0", content="0", path=folder / "clean")
    (folder / "tokens").mkdir()
    inputs = {"cleaning": clean} | ({"former": former} if former else {})
    tokenize(inputs, TokenizationConfig(vocab_size=300, verify_every=1), folder / "tokens")
    return Artifact(stage="tokenization", fingerprint="0", content=text, path=folder / "tokens")


def _published(folder: Path, inputs: dict[str, Artifact], config: PretrainingConfig) -> Artifact:
    """A pretraining artefact, in a store of its own."""
    store, key = Store(folder), {"inputs": {name: artifact.content for name, artifact in inputs.items()}}
    partial = store.begin("pretraining", "test", fingerprint_of(key))
    return store.commit("pretraining", "test", key, pretrain(inputs, config, partial).model_dump(mode="json"))


def _config(width: int = 16, steps: int = 20, **ranks: Any) -> PretrainingConfig:
    return PretrainingConfig(
        ranks=RanksConfig(**ranks),
        architecture=ArchitectureConfig(
            hidden_size=width,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=8,
        ),
        training=TrainingConfig(steps=steps, batch_size=4, context_length=32, compile="off", threads=1),
    )


def test_training_goes_on_from_a_champion(tmp_path: Path) -> None:
    tokens = _shards(tmp_path / "old", "Boats leave the harbour at dawn")
    champion = _published(tmp_path / "champion", {"tokenization": tokens}, _config(steps=120))
    new = _shards(tmp_path / "new", "Carts come to the market at noon", former=tokens)
    again = _published(tmp_path / "again", {"tokenization": new, "champion": champion}, _config())
    scratch = _published(tmp_path / "scratch", {"tokenization": new}, _config())
    losses = {
        artifact.path: [row["loss"] for row in tables.iterate(artifact.file("curves.parquet"))]
        for artifact in (again, scratch)
    }
    assert losses[again.path][0] < losses[scratch.path][0] - 0.3
    assert again.summary()["tokens_before"] == champion.summary()["tokens"] == 120 * 4 * 32
    third = _published(tmp_path / "third", {"tokenization": new, "champion": again}, _config(steps=5))
    assert third.summary()["tokens_before"] == (120 + 20) * 4 * 32


def test_a_champion_of_another_shape_is_refused(tmp_path: Path) -> None:
    tokens = _shards(tmp_path / "old", "Boats leave the harbour at dawn")
    champion = _published(tmp_path / "champion", {"tokenization": tokens}, _config(steps=1))
    with pytest.raises(ConfigError, match="hidden_size is 16, not 24"):
        _published(tmp_path / "other", {"tokenization": tokens, "champion": champion}, _config(width=24))


@pytest.mark.slow
def test_two_ranks_give_what_this_process_would(tmp_path: Path, logged: list[Any]) -> None:
    inputs = {"tokenization": _shards(tmp_path / "text", "Boats leave the harbour at dawn")}
    alone = _published(tmp_path / "alone", inputs, _config())
    told, _ = dict(logged), logged.clear()
    both = _published(tmp_path / "both", inputs, _config(number=2))
    assert sorted(step for step, _ in logged) == sorted(told) == list(range(1, 21))
    for step, values in logged:
        assert values.keys() == told[step].keys()
        assert values["loss"] == pytest.approx(told[step]["loss"], abs=1e-5)
    assert both.fingerprint == alone.fingerprint
    assert both.manifest().files.keys() == alone.manifest().files.keys()
    assert both.summary()["validation"] == pytest.approx(alone.summary()["validation"], abs=1e-5)
    for one, other in zip(
        load_pretrained(both.path).parameters(), load_pretrained(alone.path).parameters(), strict=True
    ):
        assert (one - other).abs().max() < 1e-5


def test_how_many_ranks_there_are_is_no_part_of_the_key_but_of_what_is_checked() -> None:
    assert _config(number=2, strategy="fsdp").deciding() == _config().deciding()
    assert _config(steps=21).deciding() != _config().deciding()
    with pytest.raises(ValueError, match=r"batch_size \(4\) must be a multiple of the number of ranks \(3\)"):
        _config(number=3)


def test_a_batch_that_falls_into_unequal_micro_batches_is_refused() -> None:
    training = {"batch_size": 28, "gradient_accumulation": 4}
    PretrainingConfig.model_validate({"training": training})
    with pytest.raises(ValueError, match="make batch_size a multiple of 8"):
        PretrainingConfig.model_validate({"training": training, "ranks": {"number": 2}})


def test_ranks_of_a_cluster_are_asked_for_and_their_result_is_taken_up(tmp_path: Path) -> None:
    inputs = {"tokenization": _shards(tmp_path / "text", "Boats leave the harbour at dawn")}
    folder, config = tmp_path / "stage", _config(launch="external", number=4)
    folder.mkdir()
    with pytest.raises(
        WaitingForRanksError, match=r"models\.rank_launcher .*job\.json.* then this command again"
    ):
        pretrain(inputs, config, folder)
    job = RankJob.model_validate_json((folder / "checkpoints" / "job.json").read_text())
    history = History(job.metrics)
    train(job.model, job.training, job.shards, job.folder, on_metrics=history.take, identity=job.identity)
    summary = pretrain(inputs, config, folder)
    assert summary.steps == 20 and load_pretrained(folder)


def test_lines_of_another_process_are_taken_up_once_and_whole(tmp_path: Path, logged: list[Any]) -> None:
    history, told = History(tmp_path / "metrics.jsonl"), list[int]()
    history.follow(lambda step, _: told.append(step))
    with history.path.open("a", encoding="utf-8") as handle:
        handle.write('[1, {"loss": 3.0}]\n[2, {"lo')
    history.follow(lambda step, _: told.append(step))
    with history.path.open("a", encoding="utf-8") as handle:
        handle.write('ss": 2.0}]\n')
    history.follow(lambda step, _: told.append(step))
    history.follow(lambda step, _: told.append(step))
    assert told == [1, 2]
    assert history.rows() == logged == [(1, {"loss": 3.0}), (2, {"loss": 2.0})]
