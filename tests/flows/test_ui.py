"""`unveil ui`: both pages over the workspace's own stores, on loopback, and nothing left behind."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psutil
import pytest

pytestmark = pytest.mark.slow
_PATIENCE = 180.0


def free_port() -> int:
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def opened(smoke: Any, mlflow: int, prefect: int, **environment: str) -> Iterator[subprocess.Popen[str]]:
    arguments = ["ui", "--mlflow-port", str(mlflow), "--prefect-port", str(prefect)]
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=smoke.environment() | environment,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            servers = psutil.Process(process.pid).children(recursive=True)  # they hold its pipes
            for each in (psutil.Process(process.pid), *servers):
                each.kill()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def welcome(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return "".join(process.stdout.readline() for _ in range(3))


def answer(address: str, body: dict[str, Any] | None = None) -> str:
    """What a server says, as soon as it listens."""
    data, deadline = None if body is None else json.dumps(body).encode(), time.monotonic() + _PATIENCE
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"})
    while True:
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return str(response.read().decode())
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def listens(port: int) -> bool:
    with closing(socket.socket()) as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


def test_both_pages_show_the_run_and_end_together(smoke: Any) -> None:
    mlflow, prefect = free_port(), free_port()
    with opened(smoke, mlflow, prefect) as process:
        told = welcome(process)
        page = re.search(rf"MLflow   http://127\.0\.0\.1:{mlflow}/#/experiments/(\d+)/runs\?", told)
        assert page and f"Prefect  http://127.0.0.1:{prefect}\n" in told
        assert "<html" in answer(f"http://127.0.0.1:{mlflow}/")
        wanted = {"experiment_ids": [page.group(1)], "max_results": 1000}
        found = json.loads(answer(f"http://127.0.0.1:{mlflow}/api/2.0/mlflow/runs/search", wanted))
        ids = {run["info"]["run_id"] for run in found["runs"]}
        assert smoke.first["mlflow"]["parent_run_id"] in ids
        flow_run = smoke.first["prefect"]["flow_run_id"]
        assert "lifecycle" in answer(f"http://127.0.0.1:{prefect}/api/flow_runs/{flow_run}")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    assert not listens(mlflow) and not listens(prefect)


@pytest.mark.parametrize("taken", ["mlflow", "prefect"])
def test_a_port_that_is_taken_is_told_and_the_other_server_ends(smoke: Any, taken: str) -> None:
    ports = {"mlflow": free_port(), "prefect": free_port()}
    with closing(socket.socket()) as somebody:
        somebody.bind(("127.0.0.1", ports[taken]))
        somebody.listen()
        with opened(smoke, **ports) as process:
            _, errors = process.communicate(timeout=_PATIENCE)
    assert process.returncode == 2
    assert "ui: a server ended by itself; is its port taken? try --mlflow-port, --prefect-port" in errors
    assert not any(listens(port) for port in ports.values())


def test_who_does_not_read_on_leaves_no_server_behind(smoke: Any) -> None:
    """As in `unveil ui | head -0`."""
    mlflow, prefect = free_port(), free_port()
    with opened(smoke, mlflow, prefect) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(_PATIENCE) == 1
    assert not listens(mlflow) and not listens(prefect)


def test_a_tracking_server_of_the_users_is_named_and_none_is_started_for_it(smoke: Any) -> None:
    mlflow, prefect = free_port(), free_port()
    with opened(smoke, mlflow, prefect, MLFLOW_TRACKING_URI="https://me:secret@tracking.example") as process:
        told = welcome(process)
        assert (
            "MLflow   https://tracking.example/#/experiments?workflowType=machine_learning\n" in told
            and "secret" not in told
        )
        assert "<html" in answer(f"http://127.0.0.1:{prefect}/")
        assert not listens(mlflow)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert not listens(prefect)
