"""What a source's path stands for: local files or remote objects, each a blob with a uri, a state and a digest."""

from __future__ import annotations

import glob
import hashlib
import stat
from pathlib import Path

from tasks.errors import SourceError
from tasks.sources.compression import Blob
from tasks.sources.config_base import is_remote, split_glob
from tasks.sources.remote import RemoteFile, remote_files

_BLOCK = 1 << 20
Stored = Path | RemoteFile


def find(path: str) -> list[tuple[Stored, str]]:
    """The regular files a glob matches, sorted, each with its uri.

    The uri of a local file starts at the glob's last fixed folder, so that it says enough and nothing about
    the machine; that of a remote one is its address.

    Raises:
        SourceError: nothing matches, only folders do, or a remote store does not answer.
    """
    return [*remote_files(path)] if is_remote(path) else [*_local_files(path)]


def state(blob: Stored) -> object:
    """What differs when the file has been changed.

    Raises:
        OSError: the file is gone.
    """
    if isinstance(blob, RemoteFile):
        return blob.state()
    status = blob.stat()
    return status.st_size, status.st_mtime_ns, status.st_ino


def digest(blob: Blob) -> str:
    """Sha256 of the stored bytes, read in blocks so that their number does not matter.

    Raises:
        OSError: the file cannot be read.
    """
    found = hashlib.sha256()
    with blob.open("rb") as stream:
        while block := stream.read(_BLOCK):
            found.update(block)
    return found.hexdigest()


def visible(name: str) -> str:
    """A name as tables tell it; bytes that are no UTF-8 become visible escapes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _local_files(pattern: str) -> list[tuple[Path, str]]:
    fixed, below = split_glob(pattern)
    matches = sorted(glob.glob(str(fixed / below), recursive=True))  # noqa: PTH207 (Path.glob in 3.11 follows no links)
    files = [Path(match) for match in matches if _is_regular(Path(match))]
    if files:
        return [(path, f"file:{_shown(path, fixed)}") for path in files]
    if matches:
        name = _shown(Path(matches[0]), fixed)
        raise SourceError(
            "is a folder, not a file",
            where=pattern,
            remedy=f"name the files in it, such as {name}/**/*.txt",
        )
    raise SourceError("matches no file", where=pattern, remedy="check the path, and where it is taken from")


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError as error:
        raise SourceError(f"cannot be read ({error.strerror})", where=path.name) from error


def _shown(path: Path, fixed: Path) -> str:
    return visible((Path(fixed.name) / path.relative_to(fixed)).as_posix())
