"""Processes that tests fork, kill and watch checkpoints with; a fork costs no second import of torch."""

from __future__ import annotations

import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from models.checkpoint import CheckpointError, verify
from models.checkpoint_files import newest_first

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
