"""The rows that a step of a fine-tuning is said to have read are those that it read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from models.heads import Classifier, ExampleBatch
from tasks import code_version
from tasks.artifacts import Artifact, Store
from tasks.errors import ArtifactError, ConfigError, one_line
from tasks.finetuning.sentiment import finetune_sentiment
from tasks.passages import EXCERPT
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
    ledger["config"] = {"finetuning": {"sentiment": tiny.config(steps=STEPS).model_dump(mode="json")}}
    (folder / "run.json").write_text(json.dumps(ledger))
    return home, read


@pytest.fixture
def ledger(taught: tuple[Path, Batches], tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """The same artefacts in another workspace, and the path of its ledger, to be changed and written there."""
    path = tmp_path / "runs" / "20261101-000000-abc" / "run.json"
    path.parent.mkdir(parents=True)
    return path, json.loads(next(taught[0].glob("runs/*/run.json")).read_text())


def hostile(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"text": HOSTILE + row["text"]} if row["id"] == "train-0" else row


def finetuned(home: Path, given: dict[str, Artifact]) -> Artifact:
    settings = tiny.config(steps=STEPS)

    def write(folder: Path) -> dict[str, Any]:
        return finetune_sentiment(given, settings, folder).model_dump(mode="json")

    key = {
        "config": settings.deciding(),
        "inputs": {name: each.content for name, each in given.items()},
        "code": code_version.modules("tasks.finetuning.sentiment"),
    }
    return artifact(Store(home), STAGE, write, **key)


def test_every_step_is_told_as_it_was_read(taught: tuple[Path, Batches]) -> None:
    home, read = taught
    rows = {row["id"]: hostile(row) for row in tiny.labelled() if row["split"] == "train"}
    tokenizer = load_tokenizer(next(home.glob(f"artifacts/{STAGE}/*/tokenizer.json")))
    assert read.keys() == set(range(1, STEPS + 1))
    seen = set()
    for step, batch in read.items():
        traced = trace(home, "latest", step, STAGE)
        assert (traced.stage, traced.step, traced.steps, traced.note) == (STAGE, step, STEPS, "")
        assert traced.measured.keys() == {"loss", "gradient_norm", "learning_rate"}
        for passage, ids in zip(traced.passages, batch, strict=True):
            row, text = rows[passage.document], tokenizer.decode(list(ids), skip_special_tokens=False)
            assert text.removeprefix("<|endoftext|>") in row["text"]
            assert passage.tokens == len(ids)
            assert passage.excerpt == one_line(text, EXCERPT)
            assert passage.excerpt.isprintable()
            assert passage.target == row["label"]
            assert (passage.source, passage.uri) == (row["source"], row["uri"])
            seen.add(passage.document)
    assert "train-0" in seen  # the hostile one


def test_the_id_of_its_mlflow_run_says_which_training_is_meant(taught: tuple[Path, Batches]) -> None:
    home, _ = taught
    whole = trace(home, "latest", 3, STAGE)
    own = f"m-{STAGE}"
    for run, stage in ((own, None), (own, STAGE), ("m", STAGE), ("20261101-000000-abc", STAGE)):
        assert trace(home, run, 3, stage) == whole


@pytest.mark.parametrize(
    ("run", "step", "stage", "told"),
    [
        (f"m-{STAGE}", 3, "pretraining", "is the MLflow run of finetuning-sentiment; leave out --stage"),
        (
            "m",
            3,
            "finetuning-translation",
            "has no finetuning-translation; it came to pretraining, finetuning-",
        ),
        (
            "latest",
            3,
            "finetuning-translation",
            "is no run with a finetuning-translation.*run `unveil run` first",
        ),
        ("nowhere", 3, STAGE, "--run nowhere: is no run, or training of one, in this workspace; give an id"),
        (
            "latest",
            3,
            "cleaning",
            "--stage cleaning: is no training; one of pretraining, finetuning-sentiment",
        ),
        ("latest", STEPS + 1, STAGE, f"name a step from 1 to {STEPS}"),
        ("latest", 0, STAGE, f"name a step from 1 to {STEPS}"),
    ],
)
def test_what_is_not_there_is_told_with_what_helps(
    taught: tuple[Path, Batches], run: str, step: int, stage: str, told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        trace(taught[0], run, step, stage)


def test_a_finetuning_that_failed_can_be_traced_too(
    taught: tuple[Path, Batches], ledger: tuple[Path, dict[str, Any]]
) -> None:
    """That is when one wants to know."""
    path, entry = ledger
    entry["stages"][STAGE]["artifact"] = None
    path.write_text(json.dumps(entry))
    whole, failed = trace(taught[0], "latest", 7, STAGE), trace(path.parents[2], "latest", 7, STAGE)
    assert failed.passages == whole.passages and not failed.measured


def test_other_code_than_that_of_the_training_is_told(
    taught: tuple[Path, Batches], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = code_version.modules
    monkeypatch.setattr(code_version, "modules", lambda core: plain(core) | {"models.examples": "0" * 16})
    assert "the code has changed" in trace(taught[0], "latest", 1, STAGE).note


def test_other_rows_than_those_of_the_training_are_refused(
    taught: tuple[Path, Batches], ledger: tuple[Path, dict[str, Any]]
) -> None:
    path, entry = ledger
    other = tiny.clean(Store(path.parents[2]), tiny.labelled({"train": 20, "validation": 4}))
    entry["stages"]["cleaning"]["artifact"] = str(other.path)
    path.write_text(json.dumps(entry))
    with pytest.raises(ArtifactError, match="is not what this run's model was trained on"):
        trace(path.parents[2], "latest", 1, STAGE)


def test_settings_of_another_version_are_refused_by_name(ledger: tuple[Path, dict[str, Any]]) -> None:
    path, entry = ledger
    entry["stages"][STAGE]["artifact"] = None
    entry["config"]["finetuning"]["sentiment"]["unheard_of"] = 1
    path.write_text(json.dumps(entry))
    with pytest.raises(ArtifactError, match=f"{STAGE}: was made by another version; run again"):
        trace(path.parents[2], "latest", 1, STAGE)
