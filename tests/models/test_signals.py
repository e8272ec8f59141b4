"""Asked once, training saves and stops at the next step's border; asked twice, it is gone at once."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from models.checkpoint import latest_valid, read_manifest
from models.signals import StopRequest
from tests.models.processes import Child, in_child
from tests.models.tiny_training import run, weights_digest, write_shards

GRACE = 25.0
"""Seconds: Kubernetes kills after 30."""


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    return write_shards(tmp_path / "shards")


@pytest.fixture
def children() -> Iterator[list[Child]]:
    """Children of a test, none of which outlives it."""
    started: list[Child] = []
    yield started
    for child in started:
        child.end()


def start(children: list[Child], *arguments: Any) -> Child:
    children.append(Child(*arguments))
    return children[-1]


@pytest.mark.parametrize(
    ("number", "status", "background"),
    [(signal.SIGTERM, 143, False), (signal.SIGINT, 130, True), (signal.SIGHUP, 129, False)],
)
def test_asked_once_it_saves_in_time_and_goes_on_later(
    shards: Path, tmp_path: Path, children: list[Child], number: int, status: int, background: bool
) -> None:
    options: dict[str, Any] = {"steps": 120, "checkpoint_every": 1000, "validate_every": 1000}
    expected, _ = run(shards, tmp_path / "undisturbed", **options)
    child = start(
        children, shards, tmp_path / "run", {**options, "checkpoint_async": background}, {"slow_save": 0.3}
    )
    child.await_step(7)
    asked = time.monotonic()
    child.send(number)
    assert child.status() == status
    assert time.monotonic() - asked < GRACE
    result, _ = run(shards, tmp_path / "run", **options)
    assert 7 <= result.resumed_from < 120
    assert weights_digest(result) == weights_digest(expected)


def test_asked_twice_it_leaves_at_once_and_the_last_checkpoint_is_valid(
    shards: Path, tmp_path: Path, children: list[Child]
) -> None:
    child = start(children, shards, tmp_path / "run", {"checkpoint_every": 1}, {"pause": 4.0})
    child.await_step(1)
    time.sleep(1.0)  # saving the first step, then in the middle of the second
    child.send(signal.SIGTERM)
    time.sleep(0.5)
    asked = time.monotonic()
    child.send(signal.SIGTERM)
    assert child.status() == 143
    assert time.monotonic() - asked < 2.0
    newest = latest_valid(tmp_path / "run" / "checkpoints")
    assert newest is not None and read_manifest(newest)["step"] == 1


def test_asked_while_it_saves_it_finishes_that(shards: Path, tmp_path: Path, children: list[Child]) -> None:
    child = start(children, shards, tmp_path / "run", {"checkpoint_every": 5}, {"slow_save": 1.5})
    child.await_step(5)
    time.sleep(0.5)
    child.send(signal.SIGTERM)
    assert child.status() == 143
    newest = latest_valid(tmp_path / "run" / "checkpoints")
    assert newest is not None and read_manifest(newest)["step"] == 5
    assert not list(newest.parent.glob(".tmp-*"))


def test_asked_twice_while_it_saves_the_one_before_is_valid(
    shards: Path, tmp_path: Path, children: list[Child]
) -> None:
    for background in (False, True):
        folder = tmp_path / f"run-{background}"
        changes = {"checkpoint_every": 3, "checkpoint_async": background}
        child = start(children, shards, folder, changes, {"slow_save": 1.5})
        child.await_step(6)
        while latest_valid(folder / "checkpoints") is None:  # then the thread goes on to step 6
            time.sleep(0.05)
        time.sleep(0.3)
        child.send(signal.SIGTERM)
        time.sleep(0.2)
        child.send(signal.SIGTERM)
        assert child.status() == 143
        newest = latest_valid(folder / "checkpoints")
        assert newest is not None and read_manifest(newest)["step"] == 3


def test_handlers_are_given_back_and_other_threads_change_none() -> None:
    before = signal.getsignal(signal.SIGTERM)
    request = StopRequest()
    with request.listening():
        assert signal.getsignal(signal.SIGTERM) == request._take
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        assert request.signal == signal.SIGTERM

        def asked_again() -> None:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1.0)

        assert in_child(asked_again) == 130
    assert signal.getsignal(signal.SIGTERM) is before

    def elsewhere() -> None:
        with StopRequest().listening():
            seen.append(signal.getsignal(signal.SIGTERM))

    seen: list[Any] = []
    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [before]


def test_what_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        request = StopRequest()
        with request.listening():
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.01)
        assert request.signal == 0
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_in_the_last_step_is_not_lost(shards: Path, tmp_path: Path, children: list[Child]) -> None:
    child = start(children, shards, tmp_path / "run", {"steps": 3}, {"slow_save": 1.0})
    child.await_step(3)
    child.send(signal.SIGTERM)
    assert child.status() == 143
    result, seen = run(shards, tmp_path / "run", steps=3)
    assert (result.resumed_from, seen) == (3, [])
