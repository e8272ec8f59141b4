"""SIGTERM, SIGINT and SIGHUP to the command: the first ends it in order, the second at once.

In order means: an exception in the main thread, so that the stage is abandoned, its children end, and ledger,
MLflow and Prefect are told. Prefect takes SIGTERM for itself around a flow and begins its own leaving anew with
every further one; while the command's own flow is at work, the signal is therefore taken back.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

HEEDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_state = {"listening": False, "leaving": False}


class EndedBySignal(SystemExit):
    """Somebody asked the process to end; its status is what a shell tells of a signal: 128 and its number."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.name = signal.Signals(number).name

    def __str__(self) -> str:
        return self.name


@contextmanager
def listening() -> Iterator[None]:
    """Take the signals of this process, which is a command; one that it was told to ignore stays ignored."""
    _state.update(listening=True, leaving=False)
    before = _take()
    try:
        yield
    finally:
        _state["listening"] = False
        _give_back(before)


@contextmanager
def heeded() -> Iterator[None]:
    """Take them again inside Prefect's flow; in a process that is not the command's, do nothing."""
    before = _take() if _state["listening"] else {}
    try:
        yield
    finally:
        if not _state["leaving"]:
            _give_back(before)


def _take() -> dict[int, Any]:
    """Handlers that were there; only the main thread has any."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    known = {number: signal.getsignal(number) for number in HEEDED}
    return {
        n: signal.signal(n, _end) for n, handler in known.items() if handler not in (None, signal.SIG_IGN)
    }


def _give_back(handlers: Mapping[int, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _end(number: int, _frame: FrameType | None) -> None:
    if _state["leaving"]:
        os._exit(128 + number)
    _state["leaving"] = True
    raise EndedBySignal(number)
