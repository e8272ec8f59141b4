"""Compressed files, read as a stream in bounded memory: gzip, Zstandard, bzip2 and xz, told by their suffix.

A few kilobytes can unpack to gigabytes (a gzip stream reaches 1,029 to 1). So nothing is unpacked to disk or whole
into memory, and a stream that grows too far beyond what went in is stopped: text that says something is
seldom compressed by more than 20 to 1.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable
from pathlib import PurePath
from typing import IO, Literal, Protocol, TypeVar, cast

MAX_RATIO = 200
UNSUSPECTED_BYTES = 64 << 20  # so much may come out of however little
MAX_BYTES = 1 << 40
_XZ_MEMORY = 256 << 20  # the strongest preset needs 65 MiB; a header may ask for 4 GiB
_BLOCK = 1 << 16
_BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError)
_SHORT = {".tgz": ".tar", ".tbz2": ".tar", ".txz": ".tar", ".tzst": ".tar"}
_MAGIC = re.compile(
    rb"(?P<gzip>\x1f\x8b\x08)|(?P<Zstandard>\x28\xb5\x2f\xfd)|(?P<bzip2>BZh[1-9]1AY&SY)"
    rb"|(?P<xz>\xfd7zXZ\x00)|(?P<zip>PK\x03\x04)"
)
Name = TypeVar("Name", bound=PurePath)


class Blob(Protocol):
    """A named thing that can be opened as a binary stream: a file, a remote object, a member of an archive."""

    @property
    def name(self) -> str:
        """Its name, whose suffixes tell the compression and the format."""
        ...

    def open(self, mode: Literal["rb"]) -> io.BufferedReader:
        """The stored bytes from their beginning; what streams by can be opened once."""
        ...


class DamagedError(Exception):
    """A file whose rest cannot be read; ``rule`` and the message are those of its quarantine."""

    def __init__(self, rule: str, reason: str) -> None:
        super().__init__(reason)
        self.rule = rule


def inner(path: Name) -> Name:
    """The path without the suffix of its compression; ``.tgz`` and its like become ``.tar``."""
    return path.with_suffix(_SHORT.get(path.suffix.lower(), "")) if is_compressed(path) else path


def is_compressed(path: PurePath) -> bool:
    """Whether the suffix names a compression."""
    return path.suffix.lower() in _DECOMPRESSORS


def opened(blob: Blob) -> io.BufferedReader:
    """The content as a buffered stream, decompressed where the suffix says so.

    Reading raises `DamagedError` where the data are truncated, corrupt, not compressed at all, or a bomb.

    Raises:
        OSError: the file cannot be opened.
        DamagedError: the content is compressed although the name does not say so, or compressed twice.
    """
    file, suffix = blob.open("rb"), PurePath(blob.name).suffix.lower()
    stream = file
    if suffix in _DECOMPRESSORS:
        stream = io.BufferedReader(_Decompressed(file, _DECOMPRESSORS[suffix]), _BLOCK)
    try:
        _refuse_hidden(stream)
    except DamagedError:
        stream.close()
        raise
    return stream


def _refuse_hidden(stream: io.BufferedReader) -> None:
    found = _MAGIC.match(stream.peek(16)[:16])
    if found:
        raise DamagedError("damaged", f"is compressed by {found.lastgroup}, which its name does not say")


class _Decompressed(io.RawIOBase):
    """What comes out of a compressed file, watched."""

    def __init__(self, file: IO[bytes], decompressor: Callable[[IO[bytes]], IO[bytes]]) -> None:
        super().__init__()
        self._file, self._stream, self._out = file, decompressor(file), 0
        self._failed: DamagedError | None = None

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill the buffer with as much as there is.

        Raises:
            DamagedError: nothing more can or may be read, now and at every later call.
        """
        if self._failed:
            raise self._failed
        try:
            return self._fill(buffer)
        except DamagedError as error:
            self._failed = error
            raise

    def _fill(self, buffer: memoryview) -> int:
        try:
            data = self._stream.read(len(buffer))
        except _BROKEN as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the disk's or the network's doing, not the file's
            reason = str(error) or type(error).__name__
            where = f"after {self._out} bytes of content, at byte {self._file.tell()} of the file"
            raise DamagedError("damaged", f"cannot be decompressed {where} ({reason})") from error
        self._out += len(data)
        allowed = max(UNSUSPECTED_BYTES, MAX_RATIO * self._file.tell())
        if self._out > min(allowed, MAX_BYTES):
            told = f"{MAX_RATIO} times its size" if self._out > allowed else f"{MAX_BYTES} bytes"
            raise DamagedError(
                "decompression-bomb", f"unpacks to more than {told}; read up to byte {self._out}"
            )
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Close the file underneath."""
        self._file.close()
        super().close()


class AsItComes:
    """A stream that hands out what it has, so that what comes before damage is not lost with it."""

    def __init__(self, stream: io.BufferedReader | gzip.GzipFile) -> None:
        self._stream = stream

    def read(self, size: int) -> bytes:
        """At most so many bytes; none at the end."""
        return self._stream.read1(size)


class _Chained:
    """Streams of bzip2 or xz one after the other.

    The classes of the standard library end in silence where a second stream does not begin as it should.
    """

    def __init__(
        self, file: IO[bytes], fresh: Callable[[], bz2.BZ2Decompressor | lzma.LZMADecompressor]
    ) -> None:
        self._file, self._fresh, self._current = file, fresh, fresh()
        self._began = False

    def read(self, size: int) -> bytes:
        """At most so many bytes; none at the end.

        Raises:
            EOFError: a stream is cut off.
            OSError: what follows is no such stream.
        """
        while True:
            if self._current.eof:
                data = (self._current.unused_data or self._file.read(_BLOCK)).lstrip(b"\x00")  # padding
                if not data and not self._current.unused_data:
                    return b""
                self._current, self._began = self._fresh(), False
            else:
                data = self._file.read(_BLOCK) if self._current.needs_input else b""
                if self._current.needs_input and not data:
                    return self._end()
            self._began = self._began or bool(data)
            found = self._current.decompress(data, size)
            if found:
                return found

    def _end(self) -> bytes:
        if self._began:
            raise EOFError("it ends before the end of the stream")
        return b""


def _zstandard(file: IO[bytes]) -> IO[bytes]:
    import pyarrow as pa

    return cast(IO[bytes], pa.CompressedInputStream(pa.PythonFile(file, "r"), "zstd"))


def _gzip(file: IO[bytes]) -> IO[bytes]:
    return cast(IO[bytes], AsItComes(gzip.GzipFile(fileobj=file)))


def _bzip2(file: IO[bytes]) -> IO[bytes]:
    return cast(IO[bytes], _Chained(file, bz2.BZ2Decompressor))


def _xz(file: IO[bytes]) -> IO[bytes]:
    return cast(IO[bytes], _Chained(file, lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY)))


_DECOMPRESSORS: dict[str, Callable[[IO[bytes]], IO[bytes]]] = {
    **dict.fromkeys((".gz", ".tgz"), _gzip),
    **dict.fromkeys((".bz2", ".tbz2"), _bzip2),
    **dict.fromkeys((".xz", ".txz"), _xz),
    **dict.fromkeys((".zst", ".tzst"), _zstandard),
}
