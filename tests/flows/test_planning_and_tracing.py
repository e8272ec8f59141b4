"""`unveil plan` before a run, `unveil trace` and the loss page after it: the commands, on a real workspace."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from mlflow.tracking import MlflowClient

from tasks.loss_page import PAGE

pytestmark = pytest.mark.slow


def _artifact(workspace: Any, stage: str, file: str) -> Path:
    return Path(workspace.first["stages"][stage]["artifact"]) / file


def test_a_plan_tells_all_trainings_and_what_ends_them_and_keeps_nothing(smoke: Any) -> None:
    before = {path for path in smoke.home.rglob("*") if "prefect" not in path.parts}
    done = smoke("plan", "--preset", "smoke", "--set", "budget.flops=1e9", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    heads = ("sentiment", "question-answering", "translation")
    names = [training["name"] for training in told["trainings"]]
    assert names == ["pretraining", *(f"finetuning-{head}" for head in heads)]
    assert told["notes"] == []  # the tokenizer is there
    trained = json.loads(_artifact(smoke, "pretraining", "training.json").read_text())
    assert told["trainings"][0]["parameters"] == trained["parameters"]
    assert told["trainings"][0]["tokens"] == trained["tokens"]
    for training in told["trainings"]:
        assert training["fits"] and training["beyond"] == "flops"
        assert training["total_memory"] == sum(training["memory"].values())
        assert min(training["seconds"], training["kilowatt_hours"], training["cost"]) > 0
    assert {path for path in smoke.home.rglob("*") if "prefect" not in path.parts} == before


def test_a_step_is_traced_to_the_documents_that_it_read(smoke: Any) -> None:
    stages = smoke.first["stages"]
    traced = [
        smoke("trace", "--run", name, "--step", "2", "--json")
        for name in ("latest", smoke.first["run_id"], stages["pretraining"]["mlflow_run_id"])
    ]
    assert [done.returncode for done in traced] == [0, 0, 0], traced[0].stderr
    found = [json.loads(done.stdout) for done in traced]
    assert found[0]["passages"] == found[1]["passages"] == found[2]["passages"]
    documents = pq.read_table(_artifact(smoke, "cleaning", "documents.parquet")).to_pylist()
    about = {row["id"]: (row["source"], row["split"]) for row in documents}
    for passage in found[0]["passages"]:
        assert about[passage["document"]] == (passage["source"], "train")
    curves = pq.read_table(_artifact(smoke, "pretraining", "curves.parquet")).to_pylist()
    assert found[0]["measured"]["loss"] == curves[1]["loss"]
    refused = smoke("trace", "--step", "100000")
    assert refused.returncode != 0
    assert "--step 100000: is no step of this training" in refused.stderr


@pytest.mark.parametrize("task", ["sentiment", "question-answering", "translation"])
def test_a_step_of_a_finetuning_is_traced_to_its_labelled_rows(smoke: Any, task: str) -> None:
    stage = f"finetuning-{task}"
    by_name = smoke("trace", "--stage", stage, "--step", "2", "--json")
    by_id = smoke("trace", "--run", smoke.first["stages"][stage]["mlflow_run_id"], "--step", "2")
    assert (by_name.returncode, by_id.returncode) == (0, 0), by_name.stderr + by_id.stderr
    found = json.loads(by_name.stdout)
    rows = pq.read_table(_artifact(smoke, "cleaning", f"labelled/{task}.parquet")).to_pylist()
    about = {row["id"]: (row["uri"], row["split"]) for row in rows}
    assert found["passages"]
    for passage in found["passages"]:
        assert about[passage["document"]] == (passage["uri"], "train")
        assert passage["document"] in by_id.stdout
    curves = pq.read_table(_artifact(smoke, stage, "curves.parquet")).to_pylist()
    assert found["measured"]["loss"] == curves[1]["loss"]
    assert f"{stage}, step 2 of {len(curves)}: " in by_id.stdout


def test_the_loss_page_is_in_mlflow_and_asks_nobody_for_anything(smoke: Any, tmp_path: Path) -> None:
    run_id = smoke.first["stages"]["pretraining"]["mlflow_run_id"]
    client = MlflowClient(f"sqlite:///{smoke.home / 'mlflow.db'}")
    page = Path(client.download_artifacts(run_id, PAGE, str(tmp_path))).read_text(encoding="utf-8")
    assert "<svg" in page and "<polyline" in page
    assert not re.search(r"(?:src|href)=|url\(|@import", page)


def test_a_workspace_without_a_run_has_nothing_to_trace(smoke: Any, tmp_path: Path) -> None:
    shutil.copytree(
        smoke.home, tmp_path / "home", symlinks=True, ignore=lambda *_: {"runs", "artifacts", "prefect"}
    )
    empty = type(smoke)(tmp_path / "home")
    done = empty("trace", "--step", "1")
    assert done.returncode != 0
    assert "is no run with a pretraining in this workspace" in done.stderr
