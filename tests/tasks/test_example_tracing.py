"""The rows that a step of a fine-tuning is said to have read are those that it read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from models.heads import Classifier, ExampleBatch
from tasks.artifacts import Artifact, Store
from tasks.errors import ArtifactError, ConfigError
from tasks.finetuning.sentiment import finetune_sentiment
from tasks.tracing import trace
from tasks.vocabulary import load_tokenizer
from tests.tasks.evaluation.tiny_inputs import artifact
from tests.tasks.finetuning import tiny

STAGE = "finetuning-sentiment"
STEPS = 14  # of 16 examples each, from 90: nearly three epochs
Batches = dict[int, list[tuple[int, ...]]]
HOSTILE = "\x1b[31m<script>alert(1)</script> "


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Batches]:
    """A workspace with a fine-tuning, and the token ids of every example that each of its steps read."""
    home = tmp_path_factory.mktemp("traced")
    given = tiny.inputs(home, hostile)
    read: Batches = {}
    with pytest.MonkeyPatch.context() as patched:
        plain = Classifier.loss

        def spied(head: Classifier, batch: ExampleBatch) -> Any:
            lengths = batch.attention_mask.sum(1).tolist()
            read[batch.step + 1] = [
                tuple(ids[:n]) for ids, n in zip(batch.input_ids.tolist(), lengths, strict=True)
            ]
            return plain(head, batch)

        patched.setattr(Classifier, "loss", spied)
        stages = given | {STAGE: finetuned(home, given)}
    folder = home / "runs" / "20261101-000000-abc"
    folder.mkdir(parents=True)
    told = {name: {"artifact": str(each.path), "mlflow_run_id": f"m-{name}"} for name, each in stages.items()}
    ledger = {"run_id": folder.name, "flow": "lifecycle", "stages": told, "mlflow": {"parent_run_id": "m"}}
    (folder / "run.json").write_text(json.dumps(ledger))
    return home, read


def hostile(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"text": HOSTILE + row["text"]} if row["id"] == "train-0" else row


def finetuned(home: Path, given: dict[str, Artifact]) -> Artifact:
    settings = tiny.config(steps=STEPS)

    def write(folder: Path) -> dict[str, Any]:
        return finetune_sentiment(given, settings, folder).model_dump(mode="json")

    inputs = {name: each.content for name, each in given.items()}
    return artifact(Store(home), STAGE, write, config=settings.model_dump(mode="json"), inputs=inputs)


def test_every_step_is_told_as_it_was_read(taught: tuple[Path, Batches]) -> None:
    home, read = taught
    texts = {row["id"]: hostile(row) for row in tiny.labelled() if row["split"] == "train"}
    tokenizer = load_tokenizer(next(home.glob(f"artifacts/{STAGE}/*/tokenizer.json")))
    assert read.keys() == set(range(1, STEPS + 1))
    for step, batch in read.items():
        traced = trace(home, "latest", step, STAGE)
        assert (traced.stage, traced.step, traced.steps) == (STAGE, step, STEPS)
        assert traced.measured.keys() == {"loss", "gradient_norm", "learning_rate"}
        assert [passage.tokens for passage in traced.passages] == [len(ids) for ids in batch]
        for passage, ids in zip(traced.passages, batch, strict=True):
            row = texts[passage.document]
            assert tokenizer.decode(list(ids)).strip() in row["text"]
            assert (passage.source, passage.uri, passage.licence) == (
                row["source"],
                row["uri"],
                row["licence"],
            )
            assert passage.excerpt.isprintable() and passage.excerpt.startswith("<|endoftext|>")


def test_the_id_of_its_mlflow_run_says_which_training_is_meant(taught: tuple[Path, Batches]) -> None:
    home, _ = taught
    whole = trace(home, "latest", 3, STAGE)
    for run, stage in (
        (f"m-{STAGE}", None),
        (f"m-{STAGE}", STAGE),
        ("m", STAGE),
        ("20261101-000000-abc", STAGE),
    ):
        assert trace(home, run, 3, stage) == whole
    with pytest.raises(ConfigError, match="is no run with a pretraining"):
        trace(home, f"m-{STAGE}", 3, "pretraining")
    with pytest.raises(ConfigError, match="is no run with a finetuning-translation"):
        trace(home, "latest", 3, "finetuning-translation")
    with pytest.raises(
        ConfigError, match=r"--stage cleaning: is no training.*pretraining, finetuning-sentiment"
    ):
        trace(home, "latest", 3, "cleaning")
    with pytest.raises(ConfigError, match=f"name a step from 1 to {STEPS}"):
        trace(home, "latest", STEPS + 1, STAGE)


def test_other_rows_than_those_of_the_training_are_refused(taught: tuple[Path, Batches]) -> None:
    home, _ = taught
    path = next(home.glob("runs/*/run.json"))
    before = path.read_text()
    ledger = json.loads(before)
    other = tiny.clean(Store(home), tiny.labelled({"train": 20, "validation": 4}))
    ledger["stages"]["cleaning"]["artifact"] = str(other.path)
    try:
        path.write_text(json.dumps(ledger))
        with pytest.raises(ArtifactError, match="is not what this run's model was trained on"):
            trace(home, "latest", 1, STAGE)
    finally:
        path.write_text(before)
