"""prefect.yaml for real: a local server, a process worker, a deployed run that ends completed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from tasks.artifacts import verify
from tasks.ledgers import LEDGER, read_ledger

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


@pytest.fixture
def server(smoke: Any, tmp_path: Path) -> Iterator[dict[str, str]]:
    """A real Prefect server on a free loopback port; yields the environment of its clients."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = smoke.environment() | {
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    with (tmp_path / "server.log").open("w") as log:
        command = [
            sys.executable,
            "-m",
            "prefect",
            "server",
            "start",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
        ]
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        _wait(lambda: _answers(f"{environment['PREFECT_API_URL']}/health"), 120)
        yield environment
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def test_a_deployed_lifecycle_is_run_by_a_worker(server: dict[str, str], smoke: Any, tmp_path: Path) -> None:
    _prefect(server, "work-pool", "create", "--type", "process", "unveil")
    _prefect(server, "--no-prompt", "deploy", "--all")
    deployed = {entry["name"] for entry in _api(server, "deployments/filter")}
    flows = {entry["name"] for entry in _api(server, "flows/filter")}
    assert deployed == {"local"}
    assert flows == {
        "lifecycle",
        "ingestion",
        "preparation",
        "pretraining",
        "finetuning",
        "evaluation",
        "promotion",
        "retraining",
    }
    _prefect(server, "deployment", "run", "lifecycle/local", "--param", "preset=smoke")
    with (tmp_path / "worker.log").open("w") as log:
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "unveil", "--run-once"]
        worker = _start(command, server, log, tmp_path)
    try:
        _wait(lambda: _finished(server), 300)
    finally:
        _end(worker)
    (run,) = _runs(server)
    assert run["state_name"] == "Completed", (tmp_path / "worker.log").read_text()
    assert run["id"] == smoke.ledger()["prefect"]["flow_run_id"]
    assert {task["state_name"] for task in _api(server, "task_runs/filter")} == {"Cached"}


def test_new_text_sets_off_a_retraining(server: dict[str, str], smoke: Any, tmp_path: Path) -> None:
    """Ingestion finds new documents, its event starts the retraining, and that one says which event it was."""
    home = tmp_path / "workspace"
    shutil.copytree(smoke.home, home, symlinks=True)
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for place in range(12):
        text = f"Chapter {place}. " + " ".join(
            f"The miller of valley {place} grinds {n} sacks." for n in range(40)
        )
        (corpus / f"{place}.txt").write_text(text)
    settings = {
        "+sources": [{"type": "files", "path": f"{corpus}/*.txt", "domain": "books", "licence": "CC0-1.0"}]
    }
    environment = server | {"UNVEIL_HOME": str(home)}
    _prefect(environment, "work-pool", "create", "--type", "process", "unveil")
    _prefect(environment, "--no-prompt", "deploy", "--all")
    chosen = ["--param", "preset=smoke", "--param", f"settings={json.dumps(settings)}"]
    _prefect(environment, "deployment", "run", "ingestion/local", *chosen)
    with (tmp_path / "worker.log").open("w") as log:
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "unveil"]
        worker = _start(command, environment, log, tmp_path)
    try:
        _wait(lambda: len(_runs(environment)) == 2 and _finished(environment), 400)
    finally:
        _end(worker)
    states = {run["name"].partition("-")[0]: run for run in _runs(environment)}
    log_text = (tmp_path / "worker.log").read_text()
    assert {name: run["state_name"] for name, run in states.items()} == {
        "ingestion": "Completed",
        "retraining": "Completed",
    }, log_text
    assert states["retraining"]["created_by"]["type"] == "AUTOMATION"
    ledger = read_ledger(home / "runs" / "latest" / LEDGER)
    assert (ledger["flow"], ledger["status"]) == ("retraining", "completed")
    assert ledger["reason"]["event"].startswith("unveil.corpus.updated ")
    assert "12 new documents" in ledger["reason"]["why"]
    assert ledger["notes"]["promotion"]["verdict"] in ("promote", "refuse", "inconclusive")
    champion = smoke.first["stages"]["pretraining"]["artifact"]
    trained = verify(Path(ledger["stages"]["pretraining"]["artifact"]))
    assert trained.manifest().key["inputs"]["champion"] == verify(Path(champion)).content


def _start(
    command: list[str], environment: dict[str, str], log: IO[str], folder: Path
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command, env=environment, stdout=log, stderr=log, cwd=folder, start_new_session=True
    )


def _end(worker: subprocess.Popen[bytes]) -> None:
    """Ask the worker to stop; now and then Prefect's waits on for a run that has ended."""
    worker.terminate()
    try:
        worker.wait(60)
    except subprocess.TimeoutExpired:
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait(60)


def _runs(environment: dict[str, str]) -> list[dict[str, Any]]:
    """Flow runs that are not waiting for their schedule."""
    return [r for r in _api(environment, "flow_runs/filter") if not r["auto_scheduled"]]


def _prefect(environment: dict[str, str], *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "prefect", *arguments],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _api(environment: dict[str, str], path: str) -> list[dict[str, Any]]:
    request = urllib.request.Request(
        f"{environment['PREFECT_API_URL']}/{path}", b"{}", {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        found: list[dict[str, Any]] = json.load(answer)
    return found


def _finished(environment: dict[str, str]) -> bool:
    states = {run["state_type"] for run in _runs(environment)}
    return bool(states) and states <= {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def _wait(done: Any, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.5)
