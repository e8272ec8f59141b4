"""Matrix row 35 outside training: signals to `unveil run`, and what is left running when it is gone (F6).

The signals come from a failpoint of the run itself, so that each meets the stage that it is meant for.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows.lifecycle import compose
from flows.running import run_flow
from tasks.artifacts import verify
from tasks.runs import LEDGER, read_ledger

pytestmark = pytest.mark.slow


@pytest.fixture
def home(smoke: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the finished workspace, with Prefect's own as the run left it."""
    copy = tmp_path / "workspace"
    shutil.copytree(smoke.home, copy, symlinks=True)
    monkeypatch.setenv("UNVEIL_HOME", str(copy))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return copy


def start(smoke: Any, home: Path, stage: str, failpoint: str) -> subprocess.Popen[str]:
    """`unveil run` up to a stage whose artefact is missing, with a failpoint in it."""
    shutil.rmtree(home / "artifacts" / stage)
    environment = smoke.environment() | {"UNVEIL_HOME": str(home), "UNVEIL_FAILPOINT": f"{stage}:{failpoint}"}
    command = [sys.executable, "-m", "flows.cli", "run", "--preset", "smoke", "--until", stage]
    return subprocess.Popen(command, env=environment, cwd=home.parent, stderr=subprocess.PIPE, text=True)


def query(database: Path, text: str) -> list[str]:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return [row[0] for row in connection.execute(text)]


def states(home: Path) -> set[str]:
    """Of all runs in MLflow, in Prefect and in the ledgers."""
    found = query(home / "mlflow.db", "select status from runs")
    found += query(home / "prefect" / "prefect.db", "select state_type from flow_run")
    found += query(home / "prefect" / "prefect.db", "select state_type from task_run")
    return {*found, *(read_ledger(path)["status"].upper() for path in home.glob(f"runs/*/{LEDGER}"))}


def children(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def gone(processes: list[psutil.Process], seconds: float) -> bool:
    """Whether all of them have ended in time; identity is by id and time of start, so that none is mistaken."""
    return not psutil.wait_procs(processes, timeout=seconds)[1]


def content(home: Path, stage: str) -> str:
    return verify(next((home / "artifacts" / stage).glob("[!.]*"))).content


@pytest.mark.parametrize(
    ("stage", "point", "name", "status"),
    [
        ("tokenization", "mid-write", "SIGTERM", 143),
        ("reporting", "before-manifest", "SIGHUP", 129),
        ("ingestion", "after-rename", "SIGINT", 130),
    ],
)
def test_a_signal_ends_the_run_in_order(
    stage: str, point: str, name: str, status: int, smoke: Any, home: Path
) -> None:
    before = content(home, stage)
    process = start(smoke, home, stage, f"{point}=signal:{name}")
    with process:
        said = process.communicate(timeout=300)[1]
    assert process.returncode == status, said[-3000:]
    assert said.strip().splitlines()[-1] == f"unveil: ended by {name}; run the same command again to go on"
    assert "Traceback" not in said
    left = list((home / "artifacts" / stage).glob("[!.]*"))
    assert bool(left) == (point == "after-rename")
    assert not list((home / "artifacts" / stage).glob(".*.partial"))
    found = states(home)
    assert "RUNNING" not in found and "CRASHED" in found and "KILLED" in found
    run_flow("lifecycle", compose, "smoke", None, stage)
    assert content(home, stage) == before


def held(smoke: Any, home: Path) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    """A run in the middle of cleaning, with Prefect's server and the workers of cleaning at its side."""
    process = start(smoke, home, "cleaning", "open=signal:SIGSTOP")
    deadline = time.monotonic() + 200
    while psutil.Process(process.pid).status() != psutil.STATUS_STOPPED:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    return process, children(process)


def server_of(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [child for child in processes if "tasks.temporary_server" in child.cmdline()]


def test_killed_the_run_takes_its_children_with_it_and_the_next_one_tells_prefect(
    smoke: Any, home: Path
) -> None:
    process, others = held(smoke, home)
    assert len(server_of(others)) == 1
    with process:
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert gone(others, 10.0)
    assert "RUNNING" in states(home)
    shutil.rmtree(home / "artifacts" / "cleaning")
    environment = smoke.environment() | {"UNVEIL_HOME": str(home)}
    command = [sys.executable, "-m", "flows.cli", "reconcile"]
    done = subprocess.run(
        command, env=environment, cwd=home.parent, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0 and "marked as failed" in done.stdout, done.stderr
    assert "RUNNING" not in states(home)


def test_a_second_signal_leaves_at_once_and_children_follow(smoke: Any, home: Path) -> None:
    process, others = held(smoke, home)
    with process:
        os.kill(process.pid, signal.SIGTERM)
        os.kill(process.pid, signal.SIGCONT)
        time.sleep(0.02)
        started = time.monotonic()
        while process.poll() is None and time.monotonic() < started + 5:
            os.kill(process.pid, signal.SIGTERM)
            time.sleep(0.01)
    assert process.returncode == 143
    assert time.monotonic() - started < 2
    assert gone(others, 10.0)
    assert not list((home / "artifacts" / "cleaning").glob("[!.]*"))
