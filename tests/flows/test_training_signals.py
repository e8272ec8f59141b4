"""A run asked to stop, through the command: training saves, everything it started is gone, the next run goes on."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from models.checkpoint import latest_valid, read_manifest

pytestmark = pytest.mark.slow
RUN = ("run", "--preset", "smoke", "--until", "pretraining", "--set", "pretraining.training.steps=5000")
CHECKPOINTS = "artifacts/pretraining/.*.partial/checkpoints"


@pytest.fixture
def copied(smoke: Any, tmp_path: Path) -> Path:
    home = tmp_path / "workspace"
    return Path(shutil.copytree(smoke.home, home, symlinks=True, ignore=shutil.ignore_patterns("prefect")))


class Command:
    """`unveil run`, at work in a process of its own."""

    def __init__(self, smoke: Any, home: Path) -> None:
        self.home, self.log = home, home.parent / "said.txt"
        with self.log.open("a") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "flows.cli", *RUN],
                env=smoke.environment() | {"UNVEIL_HOME": str(home)},
                cwd=home.parent, stdout=said, stderr=said,
            )  # fmt: skip

    def end(self) -> None:
        """Kill it and what it started, if anything is left."""
        if self.process.poll() is None:
            for member in (*psutil.Process(self.process.pid).children(recursive=True), self.process):
                member.kill()
            self.process.wait()

    def await_lines(self, count: int) -> None:
        """Until the history of training, of all attempts together, has so many lines."""
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline and self.process.poll() is None:
            if (
                sum(path.read_text().count("\n") for path in self.home.glob(f"{CHECKPOINTS}/metrics.jsonl"))
                >= count
            ):
                return
            time.sleep(0.02)
        raise AssertionError(self.log.read_text()[-2000:])

    def stopped_by(self, *signals: int) -> tuple[int, float]:
        """Exit status and seconds from the last of these signals to the end of the process."""
        for number in signals:
            self.process.send_signal(number)
            time.sleep(0.005)
        asked = time.monotonic()
        status = self.process.wait(timeout=60)
        return status, time.monotonic() - asked


@pytest.fixture
def start(smoke: Any, copied: Path) -> Iterator[Callable[[], Command]]:
    """Starts the command; none outlives the test."""
    started: list[Command] = []

    def start_one() -> Command:
        started.append(Command(smoke, copied))
        return started[-1]

    yield start_one
    for command in started:
        command.end()


def saved(home: Path) -> int:
    (folder,) = home.glob(CHECKPOINTS)
    newest = latest_valid(folder)
    return 0 if newest is None else int(read_manifest(newest)["step"])


def test_training_saves_when_the_command_is_asked_to_stop_and_leaves_when_asked_twice(
    start: Callable[[], Command], copied: Path
) -> None:
    command = start()
    command.await_lines(40)
    family = psutil.Process(command.process.pid).children(recursive=True)
    status, seconds = command.stopped_by(signal.SIGTERM)
    assert (status, seconds < 25.0) == (143, True)
    assert "asked to stop: saved step" in command.log.read_text()
    first = saved(copied)
    assert first >= 40 and first % 30
    _, alive = psutil.wait_procs(family, timeout=30)
    assert alive == []

    command = start()
    command.await_lines(first + 2)
    status, seconds = command.stopped_by(signal.SIGINT)
    assert (status, seconds < 25.0) == (130, True)
    second = saved(copied)
    assert second > first

    command = start()
    command.await_lines(second + 2)
    status, _ = command.stopped_by(signal.SIGTERM, signal.SIGTERM)
    assert status == 143
    assert saved(copied) >= second
