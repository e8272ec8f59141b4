"""Files behind an fsspec address, such as ``s3://bucket/corpus/*.jsonl.gz``: listed, opened, watched.

Which protocols there are depends on what is installed; keys and tokens come from the protocol's own
configuration (environment, profile), never from the address.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal

from tasks.errors import SourceError, describe


@dataclass(frozen=True)
class RemoteFile:
    """One object of a remote file system."""

    path: str
    filesystem: Any = field(repr=False)

    @property
    def name(self) -> str:
        """The last part of its path."""
        return PurePosixPath(self.path).name

    def open(self, mode: Literal["rb"]) -> io.BufferedReader:
        """The stored bytes; seekable where the protocol is.

        Raises:
            OSError: it cannot be opened.
        """
        return io.BufferedReader(self.filesystem.open(self.path, mode))

    def state(self) -> str:
        """What changes when the object changes: its size, time and ETag, as far as the protocol tells them."""
        self.filesystem.invalidate_cache()
        return str(self.filesystem.ukey(self.path))


def remote_files(address: str) -> list[tuple[RemoteFile, str]]:
    """The objects that an address with wildcards matches, sorted, each with its whole address as uri.

    Raises:
        SourceError: the protocol is unknown or not installed, the store does not answer, or nothing matches.
    """
    filesystem, pattern = _connected(address)
    try:
        found: dict[str, dict[str, Any]] = filesystem.glob(pattern, detail=True)
    except Exception as error:  # each protocol has errors of its own
        raise SourceError(f"cannot be listed ({describe(error)})", where=address) from error
    files = sorted(path for path, info in found.items() if info.get("type") == "file")
    if files:
        return [(RemoteFile(path, filesystem), filesystem.unstrip_protocol(path)) for path in files]
    if found:
        raise SourceError(
            "is a folder, not a file", where=address, remedy="name the files in it, such as **/*.txt"
        )
    raise SourceError("matches no file", where=address, remedy="check the address")


def _connected(address: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs  # type: ignore[import-untyped]

    try:
        filesystem, pattern = url_to_fs(address)
    except (ImportError, ValueError) as error:
        raise SourceError(
            f"no library for {address.split('://')[0]}:// is installed ({describe(error)})",
            where=address,
            remedy=_remedy(address),
        ) from error
    except Exception as error:
        raise SourceError(f"cannot be reached ({describe(error)})", where=address) from error
    return filesystem, str(pattern)


def _remedy(address: str) -> str:
    from fsspec.registry import known_implementations  # type: ignore[import-untyped]

    known = known_implementations.get(address.split("://")[0], {})
    return str(known.get("err") or "use a protocol that fsspec knows, such as s3, gcs or abfs").lower()
