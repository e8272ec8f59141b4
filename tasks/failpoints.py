"""Named points of the stages' writing at which a test may kill, signal or fail the process. For tests only.

``UNVEIL_FAILPOINT=STAGE:POINT[@K[+]]=kill|signal:NAME|errno:NAME`` arms one: ``cleaning:before-rename=kill``,
``tokenization:mid-write@3=errno:ENOSPC``; with ``+`` every time from the K-th on; ``*`` is any stage or point.
A run reads the variable when it starts, refuses what it does not know and warns of what is armed. Without it, a
point is a call that finds nothing armed, and no other code differs (docs/decisions/0018-failpoints.md).
"""

from __future__ import annotations

import errno
import logging
import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import ConfigError

logger = logging.getLogger(__name__)

VARIABLE = "UNVEIL_FAILPOINT"
POINTS = {
    "open": "before a file is opened for writing",
    "mid-write": "with a part of a file written",
    "close": "when a written file has been closed",
    "before-fsync": "before a file or a folder is put on the disk",
    "before-manifest": "with everything written but the manifest",
    "before-rename": "with a whole artefact that has no name yet",
    "after-rename": "with the artefact at its place, nothing tidied up",
}
_SPECIFICATION = re.compile(
    r"(?P<stage>[\w-]+|\*):(?P<point>[\w-]+|\*)(?:@(?P<k>[1-9]\d{0,8})(?P<on>\+)?)?"
    r"=(?P<action>kill|(?:signal|errno):\w+)"
)


@dataclass
class _Failpoint:
    stage: str
    point: str
    first: int
    lasting: bool
    act: Callable[[Path | None], None]
    seen: int = 0

    def reach(self, point: str, path: Path | None) -> None:
        if self.point in (point, "*") and self.stage in (_stage, "*"):
            self.seen += 1
            if self.seen == self.first or (self.lasting and self.seen > self.first):
                self.act(path)


_armed: _Failpoint | None = None
_stage = ""


def hit(point: str, path: Path | None = None) -> None:
    """Pass one of `POINTS` while working on a file; does nothing unless a test has armed it."""
    if _armed is not None:
        _armed.reach(point, path)


@contextmanager
def within(stage: str) -> Iterator[None]:
    """Say which stage is at work; one at a time in a process that has a failpoint armed."""
    global _stage
    before, _stage = _stage, stage
    try:
        yield
    finally:
        _stage = before


def arm(specification: str | None) -> None:
    """Arm a failpoint, or none.

    Raises:
        ConfigError: an unknown stage, point, action, signal or error; nothing is armed then.
    """
    global _armed
    _armed = None
    if specification:
        _armed = _read(specification)
        logger.warning(
            "failpoint %s is armed: this process will fail on purpose; unset %s", specification, VARIABLE
        )


def reached() -> int:
    """How often the armed point has been passed."""
    return 0 if _armed is None else _armed.seen


def _read(specification: str) -> _Failpoint:
    match = _SPECIFICATION.fullmatch(specification)
    if match is None:
        raise _refused(specification, "is not STAGE:POINT[@K[+]]=kill|signal:NAME|errno:NAME")
    from tasks import stages

    for given, known in ((match["stage"], stages.NAMES), (match["point"], tuple(POINTS))):
        if given not in (*known, "*"):
            raise _refused(specification, f"names {given!r}, which is none of {', '.join(known)}")
    kind, _, name = match["action"].partition(":")
    act = _failing(specification, name) if kind == "errno" else _signalling(specification, name or "SIGKILL")
    return _Failpoint(match["stage"], match["point"], int(match["k"] or 1), match["on"] is not None, act)


def _failing(specification: str, name: str) -> Callable[[Path | None], None]:
    code = getattr(errno, name, None)
    if not isinstance(code, int):
        raise _refused(specification, f"names the error {name!r}, which this system does not have")

    def act(path: Path | None) -> None:
        raise OSError(code, os.strerror(code), None if path is None else str(path))

    return act


def _signalling(specification: str, name: str) -> Callable[[Path | None], None]:
    if name not in signal.Signals.__members__:
        raise _refused(specification, f"names the signal {name!r}, which this system does not have")

    def act(_path: Path | None) -> None:
        os.kill(os.getpid(), signal.Signals[name])

    return act


def _refused(specification: str, problem: str) -> ConfigError:
    return ConfigError(
        f"{specification!r} {problem}", where=VARIABLE, remedy="unset it: it is for tests only"
    )
