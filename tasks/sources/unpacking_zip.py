"""Members of zip archives, entry by entry."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from functools import partial
from pathlib import PurePath
from typing import IO

from tasks.sources.compression import Blob, DamagedError, is_compressed
from tasks.sources.outcomes import Bad, Place
from tasks.sources.unpacking import (
    MAX_MEMBERS,
    Books,
    Member,
    Members,
    plain,
    shown,
    told,
    too_many,
)

_END, _END64 = b"PK\x05\x06", b"PK\x06\x06"
_END_BYTES, _LOCATOR_BYTES, _END64_BYTES = 22, 20, 56
_LONGEST_COMMENT = 1 << 16
_ENTRY_BYTES = 256  # of the directory, with a name of middling length
_ENCRYPTED = 0x1
_METHODS = (
    zipfile.ZIP_STORED,
    zipfile.ZIP_DEFLATED,
)  # zipfile unpacks others without bound: 4 kB of bzip2 give 4 GB


def zip_members(blob: Blob, uri: str) -> Members:
    """Every file in a zip archive, in the order of its directory.

    Raises:
        DamagedError: the archive cannot be read at all.
        OSError: it cannot be opened.
    """
    if is_compressed(PurePath(blob.name)):
        yield Place(uri, uri).bad("format", "a compressed zip archive; zip compresses itself")
        return
    with blob.open("rb") as stream:
        size = stream.seek(0, io.SEEK_END)
        books = Books(uri, size)
        if _directory_bytes(stream, size) > MAX_MEMBERS * _ENTRY_BYTES:
            yield too_many(uri)
            return
        with told(books):
            archive = zipfile.ZipFile(stream)
        with archive:
            yield from _members(archive, books)


def _members(archive: zipfile.ZipFile, books: Books) -> Members:
    for entry in archive.infolist():
        full = books.full()
        if full:
            yield full
            return
        if not entry.is_dir():
            yield _member(archive, entry, books)
        if books.spent:
            return


def _member(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, books: Books) -> Member | Bad:
    name = plain(entry.filename)
    refusal = books.refusal(name, entry.orig_filename, _is_regular(entry))
    if refusal:
        return refusal
    uri = f"{books.uri}!{shown(name)}"
    return Member(name, uri, books, partial(_opened, archive, entry), entry.compress_size)


def _opened(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> IO[bytes]:
    if entry.flag_bits & _ENCRYPTED:
        raise DamagedError("encrypted", "is encrypted")
    if entry.compress_type not in _METHODS:
        raise DamagedError("format", f"is compressed by a method that is not read ({entry.compress_type})")
    return archive.open(entry)


def _is_regular(entry: zipfile.ZipInfo) -> bool:
    return stat.S_IFMT(entry.external_attr >> 16) in (0, stat.S_IFREG)


def _directory_bytes(stream: io.BufferedReader, size: int) -> int:
    """How long the directory is, before `zipfile` makes objects of a million entries."""
    tail = min(size, _END_BYTES + _LONGEST_COMMENT + _LOCATOR_BYTES + _END64_BYTES)
    stream.seek(size - tail)
    data = stream.read(tail)
    end = data.rfind(_END)
    if end < 0 or len(data) < end + _END_BYTES:
        raise DamagedError("damaged", "is no whole zip archive: it has no directory")
    found: int = struct.unpack_from("<L", data, end + 12)[0]
    large = end - _LOCATOR_BYTES - _END64_BYTES
    if large >= 0 and data[large : large + 4] == _END64:
        found = max(found if found != 0xFFFFFFFF else 0, struct.unpack_from("<Q", data, large + 40)[0])
    return found
