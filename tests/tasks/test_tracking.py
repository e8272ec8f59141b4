"""What MLflow is told: everything, once, fast, under names it takes, and never a password."""

from __future__ import annotations

import math
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from tasks import metric_stream, tracking
from tasks.artifacts import Artifact
from tasks.metric_stream import log_step, streaming
from tasks.naming import flatten, safe_name
from tasks.tracking import Tracker


@pytest.fixture
def tracker(tracked_workspace: Path) -> Tracker:
    return Tracker(tracked_workspace)


def client(home: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{home / 'mlflow.db'}")


def seen(tracker: Tracker, run_id: str) -> Run:
    return client(tracker.home).get_run(run_id)


def test_eight_processes_on_a_fresh_store_all_succeed(root: Path, workspace: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.tasks.tracking_race", str(workspace)],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = client(workspace)
    experiments = [e for e in found.search_experiments() if e.name == "unveil"]
    assert len(experiments) == 1
    assert experiments[0].artifact_location == (workspace / "mlartifacts").as_uri()
    runs = found.search_runs([experiments[0].experiment_id], max_results=100)
    assert len(runs) == 16
    assert {run.info.status for run in runs} == {"FINISHED"}
    parents = {run.info.run_id: run for run in runs if "mlflow.parentRunId" not in run.data.tags}
    children = [run for run in runs if run.info.run_id not in parents]
    assert {child.data.tags["mlflow.parentRunId"] for child in children} == set(parents)
    for child in children:
        assert len(found.get_metric_history(child.info.run_id, "loss")) == 20
    with sqlite3.connect(workspace / "mlflow.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert not [path for path in (workspace / "elsewhere").rglob("*") if path.is_file()]


def test_a_stage_is_told_whole(tracker: Tracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    parent = tracker.start("lifecycle", tags={"unveil.preset": "smoke", "nothing": ""}, params={"seed": 1})
    params = {"a": {"b": 1, "c": [1, 2]}, "none": None, "list": [{"x": 1}, {"x": 2}], "text": "t" * 9000}
    run_id = tracker.start("cleaning", parent=parent, tags={"prefect.flow_run_id": "f1"}, params=params)
    upstream = Artifact(stage="ingestion", fingerprint="f" * 64, content="c" * 64, path=tmp_path / "x")
    tracker.log_inputs(run_id, {"ingestion": upstream}, "cleaning")
    tracker.log_summary(
        run_id, {"rows": 3, "ok": True, "deep": {"loss": 0.5}, "best": "word"}, {"unveil.why": "new"}
    )
    tracker.log_text(run_id, "<p>wörd \udcff</p>", "contracts/suite.html")
    tracker.finish(run_id, "completed")
    tracker.finish(parent, "failed", {"unveil.error": "why", "empty": ""})
    run = seen(tracker, run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "cleaning"
    assert run.data.tags["mlflow.parentRunId"] == parent
    assert run.data.tags["prefect.flow_run_id"] == "f1"
    assert run.data.tags["unveil.why"] == "new"
    assert run.data.tags["best"] == "word"
    assert run.data.metrics == {"rows": 3.0, "ok": 1.0, "deep.loss": 0.5}
    assert run.data.params == {
        "a.b": "1",
        "a.c": "[1, 2]",
        "list.0.x": "1",
        "list.1.x": "2",
        "text": "t" * 500,
    }
    dataset = run.inputs.dataset_inputs[0]
    assert (dataset.dataset.name, dataset.dataset.digest) == ("ingestion", "c" * 36)
    assert dataset.tags[0].value == "cleaning"
    files = {
        path.relative_to(tracker.home).parts[-1]: path for path in tracker.home.glob("mlartifacts/**/*.*")
    }
    assert set(files) == {"config.json", "suite.html"}
    assert files["suite.html"].parent.name == "contracts"
    assert "wörd" in files["suite.html"].read_text()
    assert seen(tracker, parent).info.status == "FAILED"
    assert seen(tracker, parent).data.tags["unveil.error"] == "why"
    assert "nothing" not in seen(tracker, parent).data.tags
    assert not (tmp_path / "mlruns").exists()


def test_metrics_step_by_step(tracker: Tracker) -> None:
    run_id = tracker.start("pretraining", tags={}, params={})
    log_step(0, {"loss": 9.0})  # outside a stage: nobody listens
    with streaming(tracker, run_id):
        for step in range(2500):
            log_step(step, {"loss": 1.0 / (step + 1), "rate": float(step)})
    history = client(tracker.home).get_metric_history(run_id, "loss")
    assert sorted(m.step for m in history) == list(range(2500))
    assert {m.step: m.value for m in history}[99] == 0.01
    assert seen(tracker, run_id).data.metrics["rate"] == 2499.0


def test_what_was_logged_before_a_failure_is_kept(tracker: Tracker) -> None:
    run_id = tracker.start("pretraining", tags={}, params={})
    with pytest.raises(RuntimeError), streaming(tracker, run_id):
        log_step(7, {"loss": 3.0})
        raise RuntimeError
    assert seen(tracker, run_id).data.metrics == {"loss": 3.0}
    assert metric_stream._stream.get() is None


def test_numbers_that_are_none_become_tags_not_zeros(tracker: Tracker) -> None:
    run_id = tracker.start("pretraining", tags={}, params={})
    with streaming(tracker, run_id):
        for step in range(5):
            log_step(step, {"loss": math.nan if step >= 2 else 1.0, "norm": math.inf})
    tracker.log_summary(run_id, {"perplexity": math.inf, "low": -math.inf, "huge": 10**400, "fine": 2}, {})
    run = seen(tracker, run_id)
    assert run.data.metrics == {"loss": 1.0, "fine": 2.0}
    assert run.data.tags["non_finite.loss"] == "step 2: nan"
    assert run.data.tags["non_finite.norm"] == "step 0: inf"
    assert run.data.tags["non_finite.perplexity"] == "step 0: inf"
    assert run.data.tags["non_finite.low"] == "step 0: -inf"
    assert run.data.tags["non_finite.huge"] == "step 0: inf"


HOSTILE = [
    "/../",
    "../x",
    "a//b",
    "'; DROP TABLE runs;--",
    'q"uote',
    "a\nb",
    "",
    ".",
    "..",
    "/",
    "x" * 999,
    "ä/ö",
    "a:b",
    "a_b",
]


def test_hostile_names_do_no_harm(tracker: Tracker) -> None:
    for name in HOSTILE:
        run_id = tracker.start(name or "x", tags={name: "tag"}, params={name: 1})
        tracker.log_summary(run_id, {name: 1.5}, {name: "tag"})
        tracker.log_inputs(
            run_id,
            {name or "x": Artifact(stage=name, fingerprint="f", content="c", path=Path("/x"))},
            name or "x",
        )
        tracker.finish(run_id, "completed", {name: "why"})
        assert list(seen(tracker, run_id).data.metrics.values()) == [1.5]
        tracker.reconcile(name)
    run_id = tracker.start("all", tags={}, params={name: index for index, name in enumerate(HOSTILE)})
    tracker.log_summary(run_id, dict.fromkeys(HOSTILE, 1.0), {})
    assert len(seen(tracker, run_id).data.params) >= len(HOSTILE) - 6


@given(st.text(max_size=300))
def test_every_name_becomes_one_that_mlflow_takes(text: str) -> None:
    from mlflow.utils.validation import _validate_metric_name, _validate_param_name, _validate_tag_name

    name = safe_name(text)
    for validate in (_validate_metric_name, _validate_param_name, _validate_tag_name):
        validate(name)
    assert safe_name(name) == name


def test_vanished_runs_end_failed_and_no_others(tracker: Tracker) -> None:
    gone = tracker.start("flow", tags={"unveil.run_id": "r1"}, params={})
    child = tracker.start("stage", parent=gone, tags={"unveil.run_id": "r1"}, params={})
    ended = tracker.start("stage", parent=gone, tags={"unveil.run_id": "r1"}, params={})
    tracker.finish(ended, "completed")
    other = tracker.start("flow", tags={"unveil.run_id": "r2"}, params={})
    tracker.reconcile("r1")
    assert [seen(tracker, run_id).info.status for run_id in (gone, child, ended, other)] == [
        "FAILED",
        "FAILED",
        "FINISHED",
        "RUNNING",
    ]
    assert seen(tracker, child).data.tags["unveil.error"] == "process vanished"


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("https://me:hunter2@host:5000/path", "https://host:5000/path"),
        ("postgresql+psycopg://me:hun@ter2/x#y@db/unveil", "postgresql+psycopg://db/unveil"),
        ("mysql://db/x?password=hunter2", "mysql://db/x"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
        ("databricks", "databricks"),
    ],
)
def test_passwords_in_the_address_are_never_shown(
    uri: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    tracker = Tracker(tmp_path)
    assert tracker.uri == uri
    assert tracker.describe() == {"tracking_uri": shown, "experiment": "unveil"}


def test_a_workspace_with_an_awkward_name(tmp_path: Path, migrated_database: Path) -> None:
    home = tmp_path / "wörk späce 100% #1 it's"
    home.mkdir()
    shutil.copy(migrated_database, home / "mlflow.db")
    tracker = Tracker(home)
    run_id = tracker.start("flow", tags={}, params={"a": 1})
    assert seen(tracker, run_id).data.params == {"a": "1"}
    assert len(list(home.glob("mlartifacts/**/config.json"))) == 1
    assert {path.name for path in tmp_path.iterdir()} == {home.name}


def test_a_temporary_folder_that_is_missing_has_no_effect(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/no/such/folder")
    run_id = tracker.start("stage", tags={}, params={"a": 1})
    tracker.log_text(run_id, "text", "deep/report.html")
    assert len(list(tracker.home.glob("mlartifacts/**/report.html"))) == 1
    assert not list(tracker.home.glob(".mlflow-*"))


def test_an_experiment_that_was_deleted_comes_back(
    tracked_workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Tracker(tracked_workspace).start("first", tags={}, params={})
    found = client(tracked_workspace)
    found.delete_experiment(found.get_experiment_by_name("unveil").experiment_id)
    monkeypatch.setattr(tracking, "_prepared", set())
    run_id = Tracker(tracked_workspace).start("second", tags={}, params={})
    assert found.get_run(run_id).info.status == "RUNNING"


def test_only_what_a_person_looks_at_is_logged(tracker: Tracker, tmp_path: Path) -> None:
    for name in (
        "report.md",
        "deep/page.html",
        "picture.png",
        "scores.json",
        "data.parquet",
        "weights.safetensors",
    ):
        (tmp_path / "a" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "a" / name).write_bytes(b"x")
    (tmp_path / "a" / "huge.json").write_bytes(b"x" * (5 << 20))
    run_id = tracker.start("stage", tags={}, params={})
    tracker.log_files(run_id, Artifact(stage="s", fingerprint="f", content="c", path=tmp_path / "a"))
    folder = next(tracker.home.glob(f"mlartifacts/{run_id}/artifacts"))
    logged = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert logged == {"config.json", "report.md", "deep/page.html", "picture.png", "scores.json"}


def test_a_busy_database_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    answers: Iterator[Any] = iter(
        [MlflowException("(sqlite3.OperationalError) database is locked")] * 3 + ["done"]
    )

    def call(argument: int, *, named: int) -> Any:
        assert (argument, named) == (1, 2)
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert tracking._patiently(call, 1, named=2) == "done"
    assert len(pauses) == 3
    assert all(0 < pause < 1.6 for pause in pauses)


def test_other_errors_and_endless_locks_are_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def call(message: str) -> None:
        raise MlflowException(message)

    with pytest.raises(MlflowException, match="no such run"):
        tracking._patiently(call, "no such run")
    monkeypatch.setattr(tracking, "_PATIENCE_SECONDS", 0.05)
    with pytest.raises(MlflowException, match="locked"):
        tracking._patiently(call, "database is locked")


def test_a_store_that_is_away_does_not_stop_a_training(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run_id = tracker.start("pretraining", tags={}, params={})
    real, broken = Tracker.log_batch, [True]

    def log_batch(self: Tracker, *arguments: Any) -> None:
        if broken[0]:
            raise MlflowException("the server is gone")
        real(self, *arguments)

    monkeypatch.setattr(Tracker, "log_batch", log_batch)
    with streaming(tracker, run_id):
        for step in range(1200):
            log_step(step, {"loss": float(step)})
        broken[0] = False
    assert caplog.text.count("MLflow took no metrics") == 1  # it does not knock at every step
    assert len(client(tracker.home).get_metric_history(run_id, "loss")) == 1200


def test_tracking_costs_little(tracker: Tracker, tmp_path: Path) -> None:
    parent = tracker.start("flow", tags={}, params={})
    (tmp_path / "a").mkdir()
    for name in ("manifest.json", "report.md"):
        (tmp_path / "a" / name).write_text("{}")
    artifact = Artifact(stage="s", fingerprint="f", content="c" * 64, path=tmp_path / "a")
    fastest = math.inf
    for _ in range(4):
        started = time.perf_counter()
        params = {f"p{i}": i for i in range(40)}
        run_id = tracker.start("stage", parent=parent, tags={f"t{i}": "x" for i in range(6)}, params=params)
        tracker.log_inputs(run_id, {"a": artifact, "b": artifact}, "stage")
        tracker.log_summary(run_id, {f"m{i}": i for i in range(30)}, {f"s{i}": "x" for i in range(5)})
        tracker.log_files(run_id, artifact)
        tracker.finish(run_id, "completed")
        fastest = min(fastest, time.perf_counter() - started)
    assert fastest < 0.3


def test_flatten() -> None:
    nested = {"a": {"b": 1, "c": {}}, "d": [1, 2], "e": [{"x": 1}, 2], "f": None}
    assert dict(flatten(nested)) == {"a.b": 1, "d": [1, 2], "e.0.x": 1, "e.1.value": 2, "f": None}


def test_deleted_runs_are_not_counted(tracker: Tracker) -> None:
    run_id = tracker.start("flow", tags={"unveil.run_id": "r"}, params={})
    found = client(tracker.home)
    found.delete_run(run_id)
    tracker.reconcile("r")
    experiment = found.get_experiment_by_name("unveil").experiment_id
    assert len(found.search_runs([experiment], run_view_type=ViewType.DELETED_ONLY)) == 1
    assert os.environ.get("MLFLOW_RUN_ID") is None
