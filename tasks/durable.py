"""File operations that survive a crash: what is written is on the disk, readers see the old or the new."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from pathlib import Path

_BLOCK = 1 << 20


def sha256_of(path: Path) -> str:
    """Sha256 of a file, read in blocks so that its size does not matter."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def write_synced(path: Path, text: str) -> None:
    """Write text so that it is on the disk when this returns."""
    with path.open("w", encoding="utf-8", newline="") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())


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


def there(path: Path) -> bool:
    """Whether anything has this name, be it a link that leads nowhere."""
    return path.is_symlink() or path.exists()


def remove(path: Path) -> None:
    """Remove a file, a link (never what it points at) or a whole folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _reraise(error: OSError) -> None:
    raise error
