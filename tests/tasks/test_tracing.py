"""A step's documents are those whose text the training read; runs are found by any of their ids."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from models.loader import WindowSampler
from models.shards import TokenShard
from tasks import tables
from tasks.artifacts import Artifact, Store
from tasks.errors import ArtifactError, ConfigError
from tasks.tracing import trace
from tasks.training import CURVES
from tasks.vocabulary import load_tokenizer
from tests.tasks.evaluation import tiny_inputs

STEPS = 40
TRAINING = {"steps": STEPS, "context_length": 16, "batch_size": 3, "seed": 4}
HOSTILE = "\x1b[31mred\x1b[0m <script>alert(1)</script> "


def pretraining(store: Store, tokens: Artifact) -> Artifact:
    """Nothing but curves: one step in thirty jumps."""

    def write(folder: Path) -> None:
        rows = [
            dict.fromkeys(CURVES.names)
            | {"step": step, "loss": (9.0 if step == 30 else 3.0 + 0.01 * (step % 5)), "gradient_norm": 0.5}
            for step in range(1, STEPS + 1)
        ]
        tables.write(folder / "curves.parquet", rows, CURVES)

    key: Mapping[str, Any] = {"config": {"training": TRAINING}, "inputs": {"tokenization": tokens.content}}
    return tiny_inputs.artifact(store, "pretraining", write, **key)


def made(home: Path) -> dict[str, Artifact]:
    """Artefacts of a run and its ledger; one document is hostile to terminals and pages."""
    store = Store(home)
    rows = tiny_inputs.documents(test=2, train=12)
    rows[0]["text"] = HOSTILE + rows[0]["text"]
    cleaning = tiny_inputs.clean(store, rows)
    tokens = tiny_inputs.tokens(store, cleaning)
    found = {"cleaning": cleaning, "tokenization": tokens, "pretraining": pretraining(store, tokens)}
    folder = home / "runs" / "20261101-000000-abc"
    folder.mkdir(parents=True)
    stages = {
        name: {"artifact": str(artifact.path), "mlflow_run_id": f"m-{name}"}
        for name, artifact in found.items()
    }
    ledger = {"run_id": folder.name, "flow": "lifecycle", "stages": stages, "mlflow": {"parent_run_id": "m"}}
    ledger["config"] = {"pretraining": {"training": TRAINING}}
    (folder / "run.json").write_text(json.dumps(ledger))
    return found


def test_the_passages_are_the_text_that_the_step_read(tmp_path: Path) -> None:
    artifacts = made(tmp_path)
    traced = trace(tmp_path, "latest", 30)
    assert (traced.step, traced.steps, traced.measured["loss"]) == (30, STEPS, 9.0)
    shard = TokenShard(artifacts["tokenization"].path, "train")
    sampler = WindowSampler(shard, context_length=16, batch_size=3, seed=4)
    tokenizer = load_tokenizer(artifacts["tokenization"].file("tokenizer.json"))
    texts = {row["id"]: row for row in tables.iterate(artifacts["cleaning"].file("documents.parquet"))}
    for window, ids in enumerate(sampler.batch(29)):
        own = [passage for passage in traced.passages if passage.window == window]
        assert sum(passage.tokens for passage in own) == 17
        for passage in own:
            part = ids[passage.first : passage.first + passage.tokens].tolist()
            row = texts[passage.document]
            assert tokenizer.decode(part) in row["text"]
            assert (passage.uri, passage.licence) == (row["uri"], row["licence"])
            assert passage.excerpt.isprintable()


def test_a_run_is_found_by_any_of_its_ids(tmp_path: Path) -> None:
    made(tmp_path)
    by_id = {
        name: trace(tmp_path, name, 1) for name in ("20261101-000000-abc", "m", "m-pretraining", "latest")
    }
    assert len({str(found) for found in by_id.values()}) == 1
    with pytest.raises(ConfigError, match="--run nowhere"):
        trace(tmp_path, "nowhere", 1)
    for step in (0, STEPS + 1):
        with pytest.raises(ConfigError, match=f"name a step from 1 to {STEPS}"):
            trace(tmp_path, "latest", step)


def test_a_training_that_failed_can_be_traced_too(tmp_path: Path) -> None:
    """That is when one wants to know."""
    made(tmp_path)
    path = next(tmp_path.glob("runs/*/run.json"))
    whole = trace(tmp_path, "latest", 7)
    ledger = json.loads(path.read_text())
    ledger["stages"]["pretraining"]["artifact"] = None
    path.write_text(json.dumps(ledger))
    failed = trace(tmp_path, "latest", 7)
    assert failed.passages == whole.passages and not failed.measured


def test_other_tokens_than_those_of_the_training_are_refused(tmp_path: Path) -> None:
    artifacts = made(tmp_path)
    path = next(tmp_path.glob("runs/*/run.json"))
    store = Store(tmp_path)
    other = tiny_inputs.tokens(store, tiny_inputs.clean(store, tiny_inputs.documents(test=2, train=9)))
    text = path.read_text()
    path.write_text(text.replace(str(artifacts["tokenization"].path), str(other.path)))
    with pytest.raises(ArtifactError, match="is not what this run's model was trained on"):
        trace(tmp_path, "latest", 1)
    path.write_text(text.replace(str(artifacts["cleaning"].path), str(tmp_path / "gone")))
    with pytest.raises(ArtifactError, match=r"cleaning: .*gone: the artefact of this run is not there"):
        trace(tmp_path, "latest", 1)
