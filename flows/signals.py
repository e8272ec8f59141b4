"""SIGTERM, SIGINT and SIGHUP to the command: the first ends it in order, the second at once.

In order means: an exception in the main thread, so that the stage is abandoned, its children end, and ledger,
MLflow and Prefect are told. Prefect takes SIGTERM for itself around a flow and begins its own leaving anew with
every further one; while the command's own flow is at work, the signal is therefore taken back.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

HEEDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_state = {"listening": False, "leaving": False}


class EndedBySignal(SystemExit):
    """Somebody asked the process to end; its status is what a shell tells of a signal: 128 and its number."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.name = signal.Signals(number).name

    def __str__(self) -> str:
        return self.name


def listen() -> None:
    """Take the signals of this process, which is a command; one that it was told to ignore stays ignored."""
    _state.update(listening=True, leaving=False)
    _take(HEEDED)


@contextmanager
def heeded() -> Iterator[None]:
    """Take them again inside Prefect's flow; in a process that is not the command's, do nothing."""
    before = _take(HEEDED) if _state["listening"] else {}
    try:
        yield
    finally:
        if not _state["leaving"]:
            for number, handler in before.items():
                signal.signal(number, handler)


def _take(numbers: tuple[signal.Signals, ...]) -> dict[signal.Signals, signal.Handlers]:
    known = {number: signal.getsignal(number) for number in numbers}
    heard = {number: handler for number, handler in known.items() if handler != signal.SIG_IGN}
    for number in heard:
        signal.signal(number, _end)
    return heard  # type: ignore[return-value]


def _end(number: int, _frame: FrameType | None) -> None:
    if _state["leaving"]:
        os._exit(128 + number)
    _state["leaving"] = True
    raise EndedBySignal(number)
