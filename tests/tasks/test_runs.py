"""The run ledger: what happened is on the disk at once, and a run that vanished is not left running."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from tasks import durable, ledgers, runs
from tasks.errors import ConfigError, DataError, UnveilError
from tasks.runs import running
from tasks.shortage import LESS_MEMORY
from tests.tasks import toy
from tests.tasks.toy import ToyConfig

LEDGER_KEYS = [
    "run_id",
    "flow",
    "preset",
    "status",
    "error",
    "reason",
    "started",
    "finished",
    "config",
    "mlflow",
    "prefect",
    "stages",
    "notes",
]
STAGE_KEYS = {"artifact", "fingerprint", "cached", "why", "seconds", "mlflow_run_id"}


@pytest.fixture(autouse=True)
def clean_toys() -> Iterator[None]:
    yield
    toy.hook.clear()
    toy.observed.clear()


def ledger(run: runs.Run) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run.folder / "run.json").read_text())
    return found


def tracked(home: Path, run_id: str) -> dict[str, Run]:
    """The MLflow runs of one run, by name."""
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("unveil").experiment_id
    found = client.search_runs([experiment], f"tags.`unveil.run_id` = '{run_id}'")
    return {run.info.run_name: run for run in found}


@contextmanager
def held(root: Path, word: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A run in another process, in the middle of a stage when this returns; its process and id."""
    command = [sys.executable, "-m", "tests.tasks.held_run", word]
    with subprocess.Popen(
        command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        try:
            run_id = process.stdout.readline().strip()
            assert process.stdout.readline() == "working\n"
            yield process, run_id
        finally:
            process.kill()


def test_the_ledger_is_what_the_design_says(tracked_workspace: Path) -> None:
    config = {"seed": 1, "sources": ["a"], "bad": float("nan"), "name": "wörd"}
    with running("lifecycle", config, preset="smoke", flow_run_id="flow-1") as run:
        assert ledger(run)["status"] == "running"
        assert runs.current() is run
        first = toy.stage(name="ingestion")(ToyConfig())
        assert set(ledger(run)["stages"]) == {"ingestion"}
        toy.stage(name="cleaning")(ToyConfig(), ingestion=first)
    assert runs.current() is None
    found = ledger(run)
    assert list(found) == LEDGER_KEYS
    assert found["run_id"] == run.folder.name
    assert (found["flow"], found["preset"], found["status"], found["error"]) == (
        "lifecycle",
        "smoke",
        "completed",
        None,
    )
    assert found["config"] == config | {"bad": "nan"}
    assert found["started"] <= found["finished"]
    assert found["started"].endswith("+00:00")
    assert found["mlflow"] == {
        "tracking_uri": f"sqlite:///{tracked_workspace / 'mlflow.db'}",
        "experiment": "unveil",
        "parent_run_id": run.mlflow_run_id,
    }
    assert found["prefect"] == {"flow_run_id": "flow-1"}
    assert list(found["stages"]) == ["ingestion", "cleaning"]
    for entry in found["stages"].values():
        assert set(entry) == STAGE_KEYS
        assert Path(entry["artifact"]).name.startswith("smoke-")
    assert (tracked_workspace / "runs" / "latest").readlink() == Path(run.run_id)
    seen = tracked(tracked_workspace, run.run_id)
    assert {name: r.info.status for name, r in seen.items()} == dict.fromkeys(
        ["lifecycle smoke", "ingestion", "cleaning"], "FINISHED"
    )
    parent = seen["lifecycle smoke"]
    assert parent.info.run_id == run.mlflow_run_id
    for name in ("ingestion", "cleaning"):
        assert seen[name].info.run_id == found["stages"][name]["mlflow_run_id"]
        assert seen[name].data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert seen[name].data.tags["prefect.flow_run_id"] == "flow-1"
        assert seen[name].data.tags["unveil.fingerprint"] == found["stages"][name]["fingerprint"]
        assert seen[name].data.metrics["files"] == 5
        assert "stage_seconds" in seen[name].data.metrics
        assert seen[name].data.params["size"] == "3"
    assert seen["cleaning"].inputs.dataset_inputs[0].dataset.digest == first.content[:36]
    assert parent.data.tags["prefect.flow_run_id"] == "flow-1"


def test_a_second_run_reuses_and_says_so(tracked_workspace: Path) -> None:
    for expected in (False, True):
        with running("flow", {}, preset="p") as run:
            toy.stage()(ToyConfig())
        assert ledger(run)["stages"]["toy"]["cached"] is expected
    assert ledger(run)["stages"]["toy"]["why"] == "unchanged"
    assert tracked(tracked_workspace, run.run_id)["toy"].data.tags["unveil.cached"] == "true"
    assert (tracked_workspace / "runs" / "latest").readlink() == Path(run.run_id)


def test_a_copy_that_followed_the_link_to_the_latest_run_still_works(
    tracked_workspace: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """`cp -rL` and `shutil.copytree` make a folder of it; a pointer for people ends no run."""
    with running("lifecycle", {}):
        pass
    latest = tracked_workspace / "runs" / "latest"
    target = latest.resolve()
    latest.unlink()
    shutil.copytree(target, latest)
    with running("lifecycle", {}) as run:
        pass
    assert run.status == "completed" and latest.is_dir() and not latest.is_symlink()
    assert not list(latest.parent.glob(".latest.*"))
    assert "could not point runs/latest at this run" in caplog.text


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (DataError("is empty\nreally", where="a.txt"), r"toy: a.txt: is empty\u000areally"),
        (ValueError("two\nlines \x1b[31m"), r"ValueError: two\u000alines \u001b[31m"),
        (OSError("cannot reach https://me:hunter2@host"), "OSError: cannot reach https://host"),
        (MemoryError(), f"toy: ran out of memory; {LESS_MEMORY}"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
    ],
)
def test_a_failed_run_says_why_in_one_line(tracked_workspace: Path, error: BaseException, line: str) -> None:
    def fail(folder: Path) -> None:
        raise error

    toy.hook.append(fail)
    with pytest.raises((type(error), UnveilError)) as caught, running("flow", {}, preset="p") as run:
        toy.stage()(ToyConfig())
    assert error in (caught.value, caught.value.__cause__)
    found = ledger(run)
    assert (found["status"], found["error"]) == ("failed", line)
    assert found["finished"]
    assert set(found["stages"]["toy"]) == STAGE_KEYS
    assert found["stages"]["toy"]["why"] == line
    assert found["stages"]["toy"]["artifact"] is None
    seen = tracked(tracked_workspace, run.run_id)
    assert seen["flow p"].info.status == "FAILED"
    assert seen["toy"].info.status == ("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
    assert seen["toy"].data.tags["unveil.error"] == line
    everything = b"".join(path.read_bytes() for path in tracked_workspace.rglob("*") if path.is_file())
    assert b"hunter2" not in everything


def test_until_stops_after_the_stage_and_completes(tracked_workspace: Path) -> None:
    with running("flow", {}, preset="p", until="second") as run:
        first = toy.stage(name="first")(ToyConfig())
        toy.stage(name="second")(ToyConfig(), first=first)
        raise AssertionError("went on")
    found = ledger(run)
    assert found["status"] == "completed"
    assert list(found["stages"]) == ["first", "second"]


def test_vanished_runs_are_found_at_the_next_start_and_living_ones_are_left_alone(
    root: Path, tracked_workspace: Path
) -> None:
    """Two processes start at once; one is killed in the middle of a stage, the other lives."""
    with held(root, "dies") as (dying, dead), held(root, "lives") as (living, alive):
        dying.send_signal(signal.SIGKILL)
        dying.wait()
        assert ledger_of(tracked_workspace, dead)["status"] == "running"
        assert reconciled(tracked_workspace) == []
        with running("flow", {}, preset="p") as run:
            pass
        assert ledger_of(tracked_workspace, dead) | {"finished": "", "started": ""} == {
            **dict.fromkeys(LEDGER_KEYS),
            "run_id": dead,
            "flow": "flow",
            "preset": "held",
            "status": "failed",
            "error": "process vanished",
            "finished": "",
            "started": "",
            "config": {"word": "dies"},
            "mlflow": ledger_of(tracked_workspace, dead)["mlflow"],
            "prefect": {"flow_run_id": None},
            "reason": {},
            "stages": {},
            "notes": {},
        }
        assert {r.info.status for r in tracked(tracked_workspace, dead).values()} == {"FAILED"}
        assert set(tracked(tracked_workspace, dead)) == {"flow held", "toy"}
        assert ledger_of(tracked_workspace, alive)["status"] == "running"
        assert {r.info.status for r in tracked(tracked_workspace, alive).values()} == {"RUNNING"}
        assert (tracked_workspace / "runs" / "latest").readlink() == Path(run.run_id)
        assert living.communicate("go on\n", timeout=60)
        assert living.returncode == 0
    assert ledger_of(tracked_workspace, alive)["status"] == "completed"
    assert runs.reconcile(tracked_workspace) == []
    toy.hook.clear()
    with running("flow", {}, preset="held"):
        again = toy.stage()(ToyConfig(word="dies"))
    undisturbed = toy.stage().ensure(
        toy.untracked_run(tracked_workspace / "other"), ToyConfig(word="dies"), {}
    )[0]
    assert again.content == undisturbed.content


def ledger_of(home: Path, run_id: str) -> dict[str, Any]:
    return ledgers.read_ledger(home / "runs" / run_id / "run.json")


def reconciled(home: Path) -> list[str]:
    entries = [ledgers.read_ledger(path) for path in home.glob("runs/[!l]*/run.json")]
    return [entry["run_id"] for entry in entries if entry["status"] == "failed"]


def test_a_run_killed_before_it_was_tracked_is_found_too(tracked_workspace: Path) -> None:
    folder = tracked_workspace / "runs" / "20260101-000000-abcdef"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"run_id": "../../x", "status": "running"}))
    (tracked_workspace / "runs" / "empty").mkdir()
    (tracked_workspace / "runs" / "torn").mkdir()
    (tracked_workspace / "runs" / "torn" / "run.json").write_text('{"status": "runn')
    (tracked_workspace / "runs" / "list").mkdir()
    (tracked_workspace / "runs" / "list" / "run.json").write_text("[]")
    assert runs.reconcile(tracked_workspace) == [folder.name]
    assert json.loads((folder / "run.json").read_text())["status"] == "failed"
    assert runs.reconcile(tracked_workspace) == []


def test_runs_in_many_threads_do_not_disturb_each_other(tracked_workspace: Path) -> None:
    found: list[runs.Run] = []

    def go(number: int) -> None:
        with running("flow", {"number": number}, preset="p") as run:
            toy.stage()(ToyConfig(word=f"thread {number % 2}"))
            assert runs.current() is run
        found.append(run)

    threads = [threading.Thread(target=go, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len({run.run_id for run in found}) == 4
    assert {ledger(run)["status"] for run in found} == {"completed"}
    assert sorted(ledger(run)["stages"]["toy"]["cached"] for run in found) == [False, False, True, True]


@pytest.mark.parametrize("name", ["latest", ".latest.another"])
def test_a_run_is_known_by_its_own_name_only(
    tracked_workspace: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The name that points at the newest run is replaced at any moment; its run lives on under its own."""
    looked_at: list[str] = []
    read = ledgers.read_ledger
    with running("flow", {}, preset="p") as run:
        link = run.folder.with_name(name)
        link.unlink(missing_ok=True)
        link.symlink_to(run.folder.name)

        def look(path: Path) -> dict[str, Any]:
            entry = read(path)
            looked_at.append(path.parent.name)
            link.unlink(missing_ok=True)
            return entry

        monkeypatch.setattr(ledgers, "read_ledger", look)
        assert runs.reconcile(tracked_workspace) == []
        assert looked_at == [run.run_id]
    assert ledger(run)["status"] == "completed"


def test_a_run_that_completes_while_it_is_looked_at_stays_completed(
    tracked_workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = ledgers.read_ledger
    running_here = running("flow", {}, preset="p")
    run = running_here.__enter__()

    def look(path: Path) -> dict[str, Any]:
        entry = read(path)
        if entry["status"] == "running":
            running_here.__exit__(None, None, None)
        return entry

    monkeypatch.setattr(ledgers, "read_ledger", look)
    assert runs.reconcile(tracked_workspace) == []
    assert ledger(run)["status"] == "completed"


def test_a_reader_never_sees_half_a_ledger(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    durable.replace_atomically(path, json.dumps({"n": 0}))
    done = threading.Event()
    torn: list[str] = []

    def read() -> None:
        while not done.is_set():
            try:
                json.loads(path.read_text())
            except ValueError:
                torn.append(path.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(60):
        durable.replace_atomically(path, json.dumps({"n": number, "long": "x" * 100_000}))
    done.set()
    reader.join()
    assert torn == []
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.json"]


def test_a_failed_replacement_keeps_the_old_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.json"
    durable.replace_atomically(path, "old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        durable.replace_atomically(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.json"]


@pytest.mark.parametrize("kind", ["file", "read-only"])
def test_a_workspace_that_cannot_be_one_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    home = tmp_path / "home"
    if kind == "file":
        home.write_text("not a folder")
    else:
        real = os.mkdir

        def mkdir(path: Any, *arguments: Any, **options: Any) -> None:
            if str(path).startswith(str(home)):
                raise PermissionError(13, "Permission denied", str(path))
            real(path, *arguments, **options)

        monkeypatch.setattr(os, "mkdir", mkdir)
    monkeypatch.setenv("UNVEIL_HOME", str(home))
    with (
        pytest.raises(UnveilError, match=r"cannot be (a workspace|written) .*UNVEIL_HOME"),
        running("flow", {}),
    ):
        raise AssertionError("started")


def test_a_tracking_store_that_fails_ends_the_run_as_failed(
    tracked_workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:hunter2@127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(Exception, match="127"), running("flow", {}, preset="p"):
        raise AssertionError("started")
    text = next((tracked_workspace / "runs").glob("2*/run.json")).read_text()
    assert json.loads(text)["status"] == "failed"
    assert "hunter2" not in text


def test_an_error_is_not_hidden_by_a_ledger_that_cannot_be_written(
    tracked_workspace: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device", str(path))

    with pytest.raises(ConfigError, match="the cause"), running("flow", {}, preset="p"):
        monkeypatch.setattr(ledgers, "replace_atomically", full)
        raise ConfigError("the cause")
    assert "could not write the ledger" in caplog.text


def test_nothing_of_the_environment_is_written(
    tracked_workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Configuration is shown; what else the process knows is not."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-aws-0001")
    monkeypatch.setenv("HF_TOKEN", "canary-hf-0002")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "canary-ml-0003")
    with running("flow", {"shown": "config-value"}, preset="p"):
        toy.stage()(ToyConfig())
    with pytest.raises(DataError), running("flow", {}, preset="p"):
        toy.stage()(ToyConfig(fail=True))
    everything = b"".join(path.read_bytes() for path in tracked_workspace.rglob("*") if path.is_file())
    assert b"config-value" in everything
    assert b"canary-" not in everything


def test_inspecting_stops_at_until_and_leaves_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNVEIL_HOME", str(tmp_path / "none"))
    with runs.inspecting("flow", {}, until="toy") as run:
        toy.stage()(ToyConfig())
        raise AssertionError("went on")
    assert [item.stage for item in run.inspections] == ["toy"]
    assert not (tmp_path / "none").exists()
    assert runs.current() is None
    shutil.rmtree(tmp_path)
