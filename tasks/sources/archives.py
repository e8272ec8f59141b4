"""Members of wheels and source distributions, read in memory: nothing is imported, nothing goes to disk.

An archive is distrusted even when its checksum is right: only regular files are read, sizes are counted
as they are decompressed (headers lie), and a name that is there twice is an error, because two readers could
then see two different files. Since nothing is extracted, path tricks (``..``, links; CVE-2025-4517) have
nothing to act on.
"""

from __future__ import annotations

import bz2
import gzip
import io
import stat
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, cast

from tasks.errors import SourceError

MAX_MEMBERS = 100_000
MAX_MEMBER_BYTES = 128 * 2**20
MAX_TOTAL_BYTES = 512 * 2**20
_BLOCK = 1 << 20
_BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
)


class TooLargeError(Exception):
    """More bytes came out of a compressed stream than may."""


class Capped(io.RawIOBase):
    """A stream that gives at most ``limit`` bytes, so that a decompression bomb ends in an error."""

    def __init__(self, stream: IO[bytes], limit: int) -> None:
        super().__init__()
        self._stream, self._left = stream, limit

    def readable(self) -> bool:
        """Always."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Read like a file.

        Raises:
            TooLargeError: the limit is passed.
        """
        wanted = self._left + 1 if size < 0 else size
        data = self._stream.read(min(wanted, self._left + 1))
        if len(data) > self._left:
            raise TooLargeError
        self._left -= len(data)
        return data


def members(path: Path, patterns: tuple[str, ...], limit: int | None = None) -> list[tuple[str, bytes]]:
    """Read the members of a wheel or a source distribution whose names match, sorted by name.

    Args:
        path: a ``.whl`` (zip) or a ``.tar.gz``; the leading ``name-version/`` folder of the latter is not
            part of the names.
        patterns: names with wildcards, where ``*`` also crosses folders.
        limit: at most so many members; which ones is decided by a hash of their names, so that the choice
            is the same everywhere and spread over all of them.

    Raises:
        SourceError: the archive is damaged or oversized, or nothing in it matches.
    """
    opener = _zip_members if path.suffix == ".whl" else _tar_members
    return _collect(path.name, opener, path, patterns, limit)


def inner_tar(name: str, data: bytes, patterns: tuple[str, ...]) -> list[tuple[str, bytes]]:
    """Members of a ``.tar.gz`` that is itself a member, with their full names, sorted."""
    return _collect(
        name, lambda source, wanted: _tar(cast(IO[bytes], source), wanted, 0), io.BytesIO(data), patterns
    )


def gunzip(name: str, data: bytes) -> bytes:
    """Decompress a gzip member within the size limit."""
    return _decompress(name, cast(IO[bytes], gzip.GzipFile(fileobj=io.BytesIO(data))))


def bunzip2(name: str, data: bytes) -> bytes:
    """Decompress a bzip2 member within the size limit."""
    return _decompress(name, bz2.BZ2File(io.BytesIO(data)))


Wanted = Callable[[list[str]], set[str]]


def _collect(
    name: str,
    opener: Callable[[Path | IO[bytes], Wanted], Iterator[tuple[str, bytes]]],
    source: Path | IO[bytes],
    patterns: tuple[str, ...],
    limit: int | None = None,
) -> list[tuple[str, bytes]]:
    def wanted(names: list[str]) -> set[str]:
        return _choose(name, names, patterns, limit)

    try:
        return sorted(opener(source, wanted))
    except TooLargeError:
        raise SourceError("unpacks to more than may be read from one archive", where=name) from None
    except _BROKEN as error:
        raise SourceError(
            f"is not a readable archive ({type(error).__name__}: {error})", where=name
        ) from error


def _choose(name: str, names: list[str], patterns: tuple[str, ...], limit: int | None) -> set[str]:
    if len(names) > MAX_MEMBERS:
        raise SourceError(f"has more than {MAX_MEMBERS} members", where=name)
    twice = next((entry for entry, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise SourceError(f"holds {twice!r} twice", where=name, remedy="do not use this file")
    matching = [entry for entry in names if any(fnmatchcase(entry, pattern) for pattern in patterns)]
    if not matching:
        raise SourceError(f"has no file like {', '.join(patterns)}", where=name)
    if limit is not None:
        matching = sorted(matching, key=lambda entry: (zlib.crc32(entry.encode()), entry))[:limit]
    return set(matching)


def _zip_members(path: Path | IO[bytes], wanted: Wanted) -> Iterator[tuple[str, bytes]]:
    left = MAX_TOTAL_BYTES
    with zipfile.ZipFile(path) as archive:
        entries = [entry for entry in archive.infolist() if _is_regular(entry)]
        chosen = wanted([entry.filename for entry in entries])
        for entry in entries:
            if entry.filename in chosen:
                with archive.open(entry) as stream:
                    data = Capped(stream, min(MAX_MEMBER_BYTES, left)).read()
                left -= len(data)
                yield entry.filename, data


def _is_regular(entry: zipfile.ZipInfo) -> bool:
    mode = entry.external_attr >> 16
    return not entry.is_dir() and (stat.S_IFMT(mode) in (0, stat.S_IFREG))


def _tar_members(path: Path | IO[bytes], wanted: Wanted) -> Iterator[tuple[str, bytes]]:
    with cast(Path, path).open("rb") as stream:
        yield from _tar(stream, wanted, 1)


def _tar(stream: IO[bytes], wanted: Wanted, strip: int) -> Iterator[tuple[str, bytes]]:
    """Two passes: the names first, then the chosen members; neither seeks in the compressed stream."""
    with _open_tar(stream) as archive:
        chosen = wanted([_below(entry.name, strip) for entry in _regular(archive)])
    stream.seek(0)
    with _open_tar(stream) as archive:
        for entry in _regular(archive):
            name = _below(entry.name, strip)
            if name in chosen:
                content = archive.extractfile(entry)
                if content is None or entry.size > MAX_MEMBER_BYTES:
                    raise TooLargeError
                yield name, content.read()


def _open_tar(stream: IO[bytes]) -> tarfile.TarFile:
    capped = Capped(cast(IO[bytes], gzip.GzipFile(fileobj=stream)), MAX_TOTAL_BYTES)
    return tarfile.open(fileobj=cast(IO[bytes], capped), mode="r|")


def _regular(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    for count, entry in enumerate(archive):
        if count > MAX_MEMBERS:
            raise SourceError(f"has more than {MAX_MEMBERS} members", where=archive.name or "")
        if entry.isreg():
            yield entry


def _below(name: str, strip: int) -> str:
    return "/".join(name.removeprefix("./").split("/")[strip:])


def _decompress(name: str, stream: IO[bytes]) -> bytes:
    parts = []
    try:
        with stream:
            capped = Capped(stream, MAX_MEMBER_BYTES)
            while block := capped.read(_BLOCK):
                parts.append(block)
    except TooLargeError:
        raise SourceError(f"decompresses to more than {MAX_MEMBER_BYTES} bytes", where=name) from None
    except _BROKEN as error:
        raise SourceError(f"cannot be decompressed ({error})", where=name) from error
    return b"".join(parts)
