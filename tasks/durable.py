"""File operations that survive a crash: what is written is on the disk, readers see the old or the new."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tasks import failpoints

_BLOCK = 1 << 20
# Enough to look a name up in a folder, where the system knows it; it needs no permission to list the folder.
_SEARCH = getattr(os, "O_PATH", os.O_RDONLY)


def sha256_of(path: Path) -> str:
    """Sha256 of a file, read in blocks so that its size does not matter."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def write(path: Path, content: str | bytes) -> None:
    """Write a file, text as UTF-8; it is on the disk once the artefact that it belongs to is published."""
    with create(path) as handle:
        _write_halves(handle, path, content)


def write_synced(path: Path, text: str) -> None:
    """Write text so that it is on the disk when this returns."""
    with create(path) as handle:
        _write_halves(handle, path, text)
        failpoints.hit("before-fsync", path)
        os.fsync(handle.fileno())


@contextlib.contextmanager
def create(path: Path) -> Iterator[BinaryIO]:
    """Open a new file for writing; an error of its closing is an error."""
    failpoints.hit("open", path)
    with path.open("wb") as handle:
        yield handle
    failpoints.hit("close", path)


def replace_atomically(path: Path, text: str) -> None:
    """Replace a small file so that a reader sees the old text or the new, never a part."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        write_synced(temporary, text)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def sync(path: Path) -> None:
    """Put a file's content, or a folder's entries, on the disk."""
    failpoints.hit("before-fsync", path)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folders(folder: Path) -> None:
    """Put the entries of a folder and of all folders in it on the disk."""
    for parent, _, _ in os.walk(folder):
        sync(Path(parent))


def entries(folder: Path) -> list[Path]:
    """Everything in a folder but its real sub-folders: files, and also links and devices. Follows no link."""
    found = []
    for parent, folders, files in os.walk(folder, onerror=_reraise):
        links = [name for name in folders if (Path(parent) / name).is_symlink()]
        found += [Path(parent) / name for name in (*files, *links)]
    return sorted(found)


def size_of(folder: Path | None) -> int:
    """Bytes of everything in a folder, as far as it can be read; 0 when there is none."""
    total = 0
    with contextlib.suppress(OSError):
        for path in [] if folder is None else entries(folder):
            total += path.lstat().st_size
    return total


def open_folder(path: Path) -> int:
    """A descriptor of a folder, made if it is missing, that no link can lead elsewhere from then on.

    The folder and the one that it lies in are opened one after the other, following no link.

    Raises:
        OSError: one of the two is a link or a file (``ENOTDIR``), or cannot be made.
    """
    base = path.parent.parent
    base.mkdir(parents=True, exist_ok=True)
    outer = os.open(base, _SEARCH)
    try:
        inner = _below(outer, path.parent.name, _SEARCH)
        try:
            return _below(inner, path.name, os.O_RDONLY)
        finally:
            os.close(inner)
    finally:
        os.close(outer)


def there(path: Path) -> bool:
    """Whether anything has this name, be it a link that leads nowhere."""
    return path.is_symlink() or path.exists()


def remove(path: Path) -> None:
    """Remove a file, a link (never what it points at) or a whole folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _write_halves(handle: BinaryIO, path: Path, content: str | bytes) -> None:
    """Hand each half to the system by itself, so that a test can stop between the two."""
    whole = memoryview(content.encode() if isinstance(content, str) else content)
    for part in (whole[: len(whole) // 2], whole[len(whole) // 2 :]):
        handle.write(part)
        handle.flush()
        failpoints.hit("mid-write", path)


def _below(folder: int, name: str, flags: int) -> int:
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, dir_fd=folder)
    return os.open(name, flags | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)


def _reraise(error: OSError) -> None:
    raise error
