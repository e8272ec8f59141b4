"""Processes that tests fork, kill and watch checkpoints with; a fork costs no second import of torch."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from models.checkpoint import CheckpointError, verify
from models.checkpoint_files import newest_first
from tests.models import faulty_training

BLINK = 0.01
"""Seconds between two looks of a watcher."""


def in_child(work: Callable[[], object]) -> int:
    """Run `work` in a forked process; its exit status, -9 if it was killed, 1 if it raised."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            torch.set_num_threads(1)  # the threads of the parent did not come along
            work()
            status = 0
        except SystemExit as left:
            status = int(str(left.code))
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed_at(step: int, real: Callable[..., object], counter: list[int]) -> Callable[..., object]:
    """`real`, but the process is killed when calls counted together in `counter` reach `step`."""

    def operation(*args: object, **options: object) -> object:
        counter[0] += 1
        if counter[0] == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **options)

    return operation


def has_valid(folder: Path) -> bool:
    """Whether any checkpoint is whole right now."""
    for path in newest_first(folder):
        try:
            verify(path)
        except CheckpointError:
            continue
        return True
    return False


class Watch:
    """What a watcher saw: how often it looked, and how often no checkpoint was valid after one had been."""

    looks = 0
    without = 0


@contextmanager
def watched(folder: Path) -> Iterator[Watch]:
    """Look every 10 ms, from another process, whether `folder` holds a valid checkpoint."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            _look(folder, writer)
        finally:
            os._exit(0)
    os.close(writer)
    watch = Watch()
    try:
        yield watch
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with os.fdopen(reader, "rb") as pipe:
            said = pipe.read()
        watch.looks, watch.without = len(said), said.count(b"-")


def _look(folder: Path, writer: int) -> None:
    seen = False
    while True:
        # A checkpoint may go while it is read, if a newer one came first: what counts is two lists in a row.
        valid = has_valid(folder) or has_valid(folder)
        seen = seen or valid
        os.write(writer, b"+" if valid or not seen else b"-")
        time.sleep(BLINK)


class Child:
    """A training in a forked process, and what it tells."""

    def __init__(
        self,
        shards: Path,
        folder: Path,
        changes: dict[str, Any],
        faults: dict[str, Any],
        environment: dict[str, str] | None = None,
    ) -> None:
        reader, writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                os.close(reader)
                signal.signal(signal.SIGINT, signal.default_int_handler)
                torch.set_num_threads(1)
                os.environ.update(environment or {})
                sys.stdout = os.fdopen(writer, "w")
                faulty_training.main(shards, folder, changes, faults)
                status = 0
            except SystemExit as left:
                status = int(str(left.code))
            except BaseException as error:
                sys.stdout.write(f"failed {type(error).__name__}: {error}\n")
                sys.stdout.flush()
            finally:
                os._exit(status)
        os.close(writer)
        self.told: list[str] = []
        self._pipe = os.fdopen(reader)

    def await_step(self, step: int) -> None:
        for line in self._pipe:
            self.told.append(line)
            if line.split()[0] == str(step):
                return
        raise AssertionError(f"ended before step {step}")

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    def status(self) -> int:
        self.told += self._pipe.read().splitlines()
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def end(self) -> None:
        """Kill it, if it still is."""
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


def two_ranks(*arguments: Any) -> list[Child]:
    """Both ranks of one training, as torchrun would start them, without a second import of everything."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    return [Child(*arguments, group | {"RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": "0"}) for rank in "01"]
