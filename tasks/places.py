"""Whether the workspace may be where it is: refused before anything is started, and before a folder is made."""

from __future__ import annotations

import os
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

from tasks.errors import ConfigError

# SQLite opens no database whose path is longer than 512 bytes; the rest of ours needs about 30.
LONGEST = 480
_SHOWN = 600
# Whatever a workspace of ours holds from its first moment on.
_OURS = {"artifacts", "cache", "downloads", "explanations", "mlartifacts", "mlflow.db", "prefect", "runs"}
_CHOOSE = "set UNVEIL_HOME to a folder of its own"


def usable(home: Path) -> None:
    """Refuse a place where no workspace can be, or where one would lie among somebody's files.

    A symbolic link was already followed (`tasks.environment.workspace`): what counts is where it leads.

    Raises:
        ConfigError: naming the place, what is wrong with it, and what to do.
    """
    if problem := _problem(home):
        shown = str(home) if len(str(home)) <= _SHOWN else f"{str(home)[:_SHOWN]}…"
        raise ConfigError(problem, where=shown, remedy=_CHOOSE)


def apart(home: Path, patterns: Iterable[str]) -> None:
    """Refuse a source that would read what a run writes: another run would then find other data.

    Raises:
        ConfigError: naming the source's path.
    """
    for pattern in patterns:
        if _reaches(Path(os.path.realpath(pattern)).parts, home.parts):
            raise ConfigError(
                f"takes files from the workspace {home}",
                where=pattern,
                remedy="choose another UNVEIL_HOME, or a narrower path",
            )


def _problem(home: Path) -> str:
    if any(not character.isprintable() for character in str(home)):
        return "has control characters in its name"
    if len(os.fsencode(home)) > LONGEST:
        return f"has a name of more than {LONGEST} bytes, which SQLite cannot open"
    try:
        base = next(path for path in (home, *home.parents) if os.path.lexists(path))
        if base.is_symlink():
            return "is a symbolic link that leads nowhere"
        if not base.is_dir():
            return f"cannot be a folder: {base} is a file"
        name_limit = os.statvfs(base).f_namemax
        if any(len(os.fsencode(part)) > name_limit for part in home.parts):
            return f"has a part of more than {name_limit} bytes"
        if not os.access(base, os.W_OK | os.X_OK):
            return f"cannot be written: no permission in {base}"
        if base == home and not _is_ours(home):
            return "holds other files"
    except OSError as error:
        return f"cannot be a workspace ({error.strerror})"
    return ""


def _is_ours(home: Path) -> bool:
    found = {path.name for path in home.iterdir()}
    return not found or bool(found & _OURS)


def _reaches(pattern: tuple[str, ...], home: tuple[str, ...]) -> bool:
    """Whether a glob may match the workspace or anything in it. Wildcards match no name that begins with a dot."""
    if not home:
        return True
    if not pattern:
        return False
    first, rest = pattern[0], pattern[1:]
    hidden = home[0].startswith(".") and not first.startswith(".")
    if first == "**":
        return _reaches(rest, home) or (not hidden and _reaches(pattern, home[1:]))
    return (first == home[0] or (not hidden and fnmatchcase(home[0], first))) and _reaches(rest, home[1:])
