"""One thread that writes while training goes on, and whose failure is not lost."""

from __future__ import annotations

import threading
from collections.abc import Callable


class BackgroundWriter:
    """Runs one piece of work at a time; what it raised comes back at the next chance.

    Lightning's own asynchronous writer tells of an error at the next save or at the end, which may be hours
    of training later.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def submit(self, work: Callable[[], None]) -> None:
        """Start `work` when the work before is done; raises what that raised."""
        self.wait()
        # A daemon: whoever ends a training in order waits for it, and nobody else should.
        self._thread = threading.Thread(target=self._run, args=(work,), name="checkpoint-writer", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait for the work at hand; raises what it raised."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.raise_failure()

    def raise_failure(self) -> None:
        """Raise what the work raised, once, without waiting."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # whatever it is belongs to the training's thread
            self._error = error
