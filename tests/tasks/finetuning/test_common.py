"""What every fine-tuning shares: opening the base, reading rows, curves, facts."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tasks.artifacts import CHECKPOINTS, Artifact
from tasks.errors import ArtifactError, DataError
from tasks.finetuning.common import labelled_rows, open_base, summarise, write_curves, write_facts
from tasks.training import History
from tests.tasks.finetuning import tiny


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    return tiny.inputs(tmp_path_factory.mktemp("home"))


def history(folder: Path) -> History:
    found = History(folder / CHECKPOINTS / "metrics.jsonl")
    for step in (1, 2, 3):
        values = {"loss": 1.0 / step, "learning_rate": 0.1, "gradient_norm": 2.0, "examples": 4.0 * step}
        found.take(
            step, values | {"examples_per_second": 123.0} | ({"validation/f1": 0.5} if step == 3 else {})
        )
    return found


def test_the_base_is_the_pretrained_model(given: dict[str, Artifact]) -> None:
    base = open_base(given)
    assert base.content == given["pretraining"].content
    assert base.pad_id == 1
    assert base.tokenizer.encode("river").ids
    assert not base.model.training


def test_a_base_that_cannot_be_read_is_named(given: dict[str, Artifact]) -> None:
    with pytest.raises(ArtifactError, match=r"finetuning: .*config\.json.*run the earlier stages again"):
        open_base({"pretraining": given["cleaning"]})


def test_rows_are_those_of_one_split(given: dict[str, Artifact]) -> None:
    rows = labelled_rows(given, "sentiment", "validation")
    assert [row["id"] for row in rows] == [f"validation-{number}" for number in range(24)]
    assert rows == [row for row in tiny.labelled() if row["split"] == "validation"]
    with pytest.raises(DataError, match="the holiday split has no row; add labelled rows"):
        labelled_rows(given, "sentiment", "holiday")
    with pytest.raises(ArtifactError, match="translation"):
        labelled_rows(given, "translation", "train")


def test_curves_hold_what_repeats_and_no_speed(tmp_path: Path) -> None:
    write_curves(history(tmp_path), tmp_path)
    rows = pq.read_table(tmp_path / "curves.parquet").to_pylist()
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert rows[0] == {
        "step": 1,
        "examples": 4.0,
        "loss": 1.0,
        "learning_rate": 0.1,
        "gradient_norm": 2.0,
        "validation_f1": None,
    }
    assert rows[2]["validation_f1"] == 0.5


def test_the_summary_counts_epochs_and_keeps_the_last_validation(
    given: dict[str, Artifact], tmp_path: Path
) -> None:
    base, settings = open_base(given), tiny.config(steps=3, batch_size=4).training
    summary = summarise("weather", base, settings, history(tmp_path), examples=8, left_out=2)
    assert (summary.task, summary.steps, summary.examples, summary.left_out) == ("weather", 3, 8, 2)
    assert summary.epochs == 1.5
    assert summary.parameters == sum(weight.numel() for weight in base.model.parameters())
    assert summary.training_loss == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)
    assert summary.validation == {"f1": 0.5}
    write_facts(summary, settings, tmp_path)
    facts = json.loads((tmp_path / "finetuning.json").read_text())
    assert facts == {"config": settings.model_dump(mode="json"), "summary": summary.model_dump(mode="json")}
