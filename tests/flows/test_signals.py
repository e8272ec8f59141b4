"""Matrix row 35 outside training: signals to `unveil run`, and what is left running when it is gone (F6).

Single signals come from a failpoint of the run itself, so that each meets the stage that it is meant for.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tasks.artifacts import verify
from tasks.ledgers import LEDGER, read_ledger

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parent.parent.parent


PROGRAM = """
import sys
from pathlib import Path
from flows.lifecycle import compose
from flows.running import run_flow
from flows.settings import read
run_flow("lifecycle", compose, "smoke", read(Path(sys.argv[1])), "tokenization")
"""
SETTINGS = {
    "ingestion": {
        "sources": [{"type": "samples", "documents": 120}],
        "labelled": {task: [] for task in ("sentiment", "question_answering", "translation")},
    },
    "tokenization": {"vocab_size": 512},
}


class Home:
    """A workspace that is finished up to tokenisation; every test leaves it so."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "workspace"
        self.settings = folder / "settings.yaml"
        self.settings.write_text(json.dumps({"extends": "smoke"} | SETTINGS))
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_", "UNVEIL_"))}
        self.environment = kept | {"UNVEIL_HOME": str(self.path), "PYTHONPATH": str(ROOT)}
        self.contents = self.complete()

    def complete(self) -> dict[str, str]:
        """Bring it to its end without Prefect, in a process of its own; returns each stage's content."""
        command = [sys.executable, "-c", PROGRAM, str(self.settings)]
        subprocess.run(command, env=self.environment, cwd=self.path.parent, check=True, capture_output=True)
        return {path.parent.name: verify(path).content for path in self.path.glob("artifacts/*/[!.]*")}

    def start(self, stage: str, failpoint: str = "") -> subprocess.Popen[str]:
        """`unveil run` up to a stage whose artefact is missing, perhaps with a failpoint in it."""
        shutil.rmtree(next(self.stage(stage).glob("[!.]*")))
        armed = self.environment | ({"UNVEIL_FAILPOINT": f"{stage}:{failpoint}"} if failpoint else {})
        command = [sys.executable, "-m", "flows.cli", "run", "--config", str(self.settings), "--until", stage]
        return subprocess.Popen(command, env=armed, cwd=self.path.parent, stderr=subprocess.PIPE, text=True)

    def stage(self, name: str) -> Path:
        return self.path / "artifacts" / name

    def states(self) -> set[str]:
        """Of all runs in MLflow, in Prefect and in the ledgers."""
        found = query(self.path / "mlflow.db", "select status from runs")
        found += query(self.path / "prefect" / "prefect.db", "select state_type from flow_run")
        found += query(self.path / "prefect" / "prefect.db", "select state_type from task_run")
        return {*found, *(read_ledger(path)["status"].upper() for path in self.path.glob(f"runs/*/{LEDGER}"))}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("signals"))


def query(database: Path, text: str) -> list[str]:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return [row[0] for row in connection.execute(text)]


def children(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def gone(processes: list[psutil.Process]) -> bool:
    """Whether all of them end soon; identity is by id and time of start, so that none is mistaken.

    The server looks twice a second. A worker that has only just been started learns of it when it is ready to
    read, which takes a second or two where the machine has nothing else to do.
    """
    return not psutil.wait_procs(processes, timeout=60.0)[1]


@pytest.mark.parametrize(
    ("stage", "point", "name", "status"),
    [
        ("tokenization", "mid-write", "SIGTERM", 143),
        ("cleaning", "before-manifest", "SIGHUP", 129),
        ("ingestion", "after-rename", "SIGINT", 130),
    ],
)
def test_a_signal_ends_the_run_in_order(stage: str, point: str, name: str, status: int, home: Home) -> None:
    with home.start(stage, f"{point}=signal:{name}") as process:
        said = process.communicate(timeout=500)[1]
    assert process.returncode == status, said[-3000:]
    assert said.strip().splitlines()[-1] == f"unveil: ended by {name}; run the same command again to go on"
    assert "Traceback" not in said
    assert bool(list(home.stage(stage).glob("[!.]*"))) == (point == "after-rename")
    assert not list(home.stage(stage).glob(".*.partial"))
    found = home.states()
    assert "RUNNING" not in found and "CRASHED" in found and "KILLED" in found
    assert home.complete() == home.contents


@contextmanager
def held(home: Home) -> Iterator[tuple[subprocess.Popen[str], list[psutil.Process]]]:
    """A run that stands still in the middle of cleaning, with Prefect's server and cleaning's workers at its side."""
    with home.start("cleaning") as process:
        try:
            deadline = time.monotonic() + 500
            while not {"tasks.temporary_server", "tasks.cleaning.worker"} <= programs(process):
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.02)
            process.send_signal(signal.SIGSTOP)
            yield process, children(process)
        finally:
            process.kill()


def programs(process: subprocess.Popen[str]) -> set[str]:
    found = set()
    for child in children(process):
        with suppress(psutil.NoSuchProcess):
            found |= set(child.cmdline())
    return found


def test_killed_a_run_takes_its_children_along_and_the_next_command_tells_prefect(home: Home) -> None:
    with held(home) as (process, others):
        process.kill()
        assert process.wait() == -signal.SIGKILL
        assert gone(others)
    assert "RUNNING" in home.states()
    command = [sys.executable, "-m", "flows.cli", "reconcile"]
    done = subprocess.run(
        command,
        env=home.environment,
        cwd=home.path.parent,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0 and "marked as failed" in done.stdout, done.stderr
    assert "RUNNING" not in home.states()
    assert home.complete() == home.contents


def test_a_second_signal_leaves_at_once_and_its_children_follow(home: Home) -> None:
    with held(home) as (process, others):
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGCONT)
        started = time.monotonic()
        while process.poll() is None and time.monotonic() < started + 30:
            time.sleep(0.05)
            process.send_signal(signal.SIGTERM)
        assert process.returncode == 143
        assert time.monotonic() - started < 5
        assert gone(others)
    assert not list(home.stage("cleaning").glob("[!.]*"))
    assert home.complete() == home.contents
