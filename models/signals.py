"""SIGTERM, SIGINT and SIGHUP during training: heeded at the next step's border, and at once when they come twice."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

HEEDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class StopTraining(Exception):  # noqa: N818 - nothing went wrong
    """Ends training between two steps, after a checkpoint, because the process was asked to stop."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"asked to stop by signal {signal_number}")
        self.status = exit_status(signal_number)


def exit_status(signal_number: int) -> int:
    """What a shell reports of a process that a signal ended: 143 for SIGTERM, 130 for SIGINT, 129 for SIGHUP."""
    return 128 + signal_number


class StopRequest:
    """Whether somebody asked this process to stop; `signal` is 0 until then."""

    def __init__(self) -> None:
        self.signal = 0

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take these signals here instead of where they went; only a main thread can, others change nothing.

        One that is ignored stays so: that is what `nohup` asks for.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        heeded = [number for number in HEEDED if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, self._take) for number in heeded}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _take(self, number: int, _frame: FrameType | None) -> None:
        # Nothing is logged: a handler may interrupt the logging of the very thread it would wait for.
        if self.signal:
            os._exit(exit_status(number))  # waiting for nothing: checkpoints are whole or absent
        self.signal = number
