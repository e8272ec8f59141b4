"""prefect.yaml for real: a local server, a process worker, a deployed run that ends completed."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

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
    assert flows == {"lifecycle", "ingestion", "preparation", "pretraining", "evaluation"}
    _prefect(server, "deployment", "run", "lifecycle/local", "--param", "preset=smoke")
    with (tmp_path / "worker.log").open("w") as log:
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "unveil", "--run-once"]
        worker = subprocess.Popen(command, env=server, stdout=log, stderr=log, cwd=tmp_path)
    try:
        _wait(lambda: _finished(server), 300)
    finally:
        worker.terminate()
        worker.wait(60)
    run = _api(server, "flow_runs/filter")[0]
    assert run["state_name"] == "Completed", (tmp_path / "worker.log").read_text()
    assert run["id"] == smoke.ledger()["prefect"]["flow_run_id"]
    assert {task["state_name"] for task in _api(server, "task_runs/filter")} == {"Cached"}


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
    states = {run["state_type"] for run in _api(environment, "flow_runs/filter")}
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
