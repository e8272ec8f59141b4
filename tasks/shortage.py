"""What a full, read-only or broken disk and exhausted memory mean to a user, whichever library met them first.

Only Python itself says so with an `OSError` or a `MemoryError`: writers in Rust and C++ and the tracking
database put it into a text of their own, and a library may hide it behind an error of a higher level.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path

from tasks.errors import UnveilError

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}
_EXPLAINED = _NO_ROOM | _NOT_ALLOWED | {errno.EIO}
_NUMBER = re.compile(r"\b(?:os error|errno:?) (\d+)\b", re.IGNORECASE)
_WORDS = {
    "no space left on device": errno.ENOSPC,
    "database or disk is full": errno.ENOSPC,
    "file too large": errno.EFBIG,
    "disk quota exceeded": errno.EDQUOT,
    "readonly database": errno.EROFS,
    "disk i/o error": errno.EIO,
}
_NO_MEMORY = re.compile(
    r"can(?:no|')t allocate memory|out of memory|std::bad_alloc|can't start new thread", re.IGNORECASE
)
# What `models.checkpoint_io` says before it writes: all that is to be known but the stage.
_TOLD = re.compile(r"needs [\d,]+ bytes and [\d,]+ are free")
LESS_MEMORY = "try smaller batches or a smaller model, end other programs, or take a machine with more"


def explained(
    error: BaseException, stage: str, folder: Path, written: int = 0, former: int = 0
) -> UnveilError | None:
    """One line for an error that means a shortage of disk or memory; None for any other error.

    Args:
        error: what was raised.
        stage: the stage at work.
        folder: where it was writing; told if the error names no file.
        written: bytes that were written when it happened, and have been removed since.
        former: bytes of the stage's last artefact, as a guess at what it needs.
    """
    if isinstance(error, UnveilError):
        return None
    if isinstance(error, RuntimeError) and _TOLD.search(str(error)):
        return UnveilError(str(error), stage=stage)
    for cause in _causes(error):
        if _is_memory(cause):
            return memory_error(stage, str(cause))
        code = _code(cause)
        if code is not None and code in _EXPLAINED:
            return _storage(code, stage, _where(cause, folder), _room(folder, written, former))
    return None


def storage_error(error: OSError, stage: str, folder: Path) -> UnveilError | None:
    """As `explained`, for an error at a single small file."""
    if error.errno is None or error.errno not in _EXPLAINED:
        return None
    return _storage(error.errno, stage, _where(error, folder), _room(folder, 0, 0))


def memory_error(stage: str, detail: str = "") -> UnveilError:
    """The stage, or one of its processes, had no memory left."""
    reason = f" ({detail})" if detail else ""
    return UnveilError(f"ran out of memory{reason}", stage=stage, remedy=LESS_MEMORY)


def killed_worker(stage: str, remedy: str) -> UnveilError:
    """A child process was ended by SIGKILL, which only the kernel or a person sends."""
    problem = "worker killed (signal 9), likely out of memory"
    return UnveilError(
        problem, stage=stage, remedy=f"try {remedy}, end other programs, or take a machine with more"
    )


def _storage(code: int, stage: str, where: Path, room: str) -> UnveilError:
    if code == errno.EFBIG:
        remedy = f"{room}; raise the limit on a file's size (`ulimit -f`) and run again"
    elif code in _NO_ROOM:
        remedy = f"{room}; free some space and run again"
    elif code in _NOT_ALLOWED:
        remedy = "give write permission or choose another workspace with UNVEIL_HOME"
    else:
        remedy = "check the disk, then run again"
    return UnveilError(f"cannot be written ({os.strerror(code)})", stage=stage, where=where, remedy=remedy)


def _where(error: BaseException, folder: Path) -> Path:
    """The file at fault; one that was opened through a descriptor of its folder has a name only."""
    name = getattr(error, "filename", None)
    return folder / os.fsdecode(name) if isinstance(name, str | bytes | os.PathLike) else folder


def _room(folder: Path, written: int, former: int) -> str:
    """How many bytes are needed, as far as that is known, and how many there are."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if not (written or former):
        return f"{free:,} bytes are free"
    needed = f"about {former:,}" if former > written else f"more than {written:,}"
    return f"it needs {needed} bytes and {free:,} are free"


def _causes(error: BaseException) -> list[BaseException]:
    """The error and what it was raised from, the outermost first."""
    found: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in found:
        found.append(cause)
        cause = cause.__cause__
    return found


def _is_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error)) is not None


def _code(error: BaseException) -> int | None:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    if isinstance(error, ValueError | TypeError | LookupError):
        return None  # about data, whose text may say anything
    text = str(error)[:2000]
    if number := _NUMBER.search(text):
        return int(number[1])
    return next((code for words, code in _WORDS.items() if words in text.lower()), None)
