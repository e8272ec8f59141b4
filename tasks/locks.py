"""Exclusive locks on files that the kernel releases when their holder dies, however it dies.

``flock`` belongs to the open file, which a forked worker inherits: a killed parent would leave its lock with
an orphaned data loader. Held locks are therefore closed in every forked child.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.durable import open_folder

logger = logging.getLogger(__name__)

_held: set[int] = set()


@contextmanager
def held(path: Path, waiting_for: str = "") -> Iterator[None]:
    """Hold the lock of a file; waits while another process has it, however long that takes.

    Args:
        path: the lock file, created when missing and never removed.
        waiting_for: what to tell the user when there is someone to wait for; nothing when empty.
    """
    descriptor = _acquire(path, waiting_for)
    try:
        yield
    finally:
        _release(descriptor)


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not _try(descriptor)
    finally:
        os.close(descriptor)


def _acquire(path: Path, waiting_for: str) -> int:
    while True:
        descriptor = _opened(path)
        _held.add(descriptor)
        try:
            if not _try(descriptor):
                if waiting_for:
                    logger.info("waiting for %s", waiting_for)
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_same(descriptor, path):
                return descriptor
        except BaseException:
            _release(descriptor)
            raise
        # The workspace was cleaned while we waited: this lock guards a file that no longer has a name.
        _release(descriptor)


def _opened(path: Path) -> int:
    """The lock file, made if it is missing, and reached through no link."""
    folder = open_folder(path.parent)
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.open(path.name, flags, 0o644, dir_fd=folder)
    finally:
        os.close(folder)


def _is_same(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _release(descriptor: int) -> None:
    if descriptor in _held:
        _held.discard(descriptor)
        os.close(descriptor)


def _close_in_child() -> None:
    for descriptor in tuple(_held):
        _release(descriptor)


os.register_at_fork(after_in_child=_close_in_child)
