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
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, cast

MAX_RATIO = 200
UNSUSPECTED_BYTES = 64 << 20  # so much may come out of however little
_BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError)


class DamagedError(Exception):
    """A file whose rest cannot be read; ``rule`` and the message are those of its quarantine."""

    def __init__(self, rule: str, reason: str) -> None:
        super().__init__(reason)
        self.rule = rule


def inner(path: Path) -> Path:
    """The path without the suffix of its compression."""
    return path.with_suffix("") if is_compressed(path) else path


def is_compressed(path: Path) -> bool:
    """Whether the suffix names a compression."""
    return path.suffix.lower() in _DECOMPRESSORS


def opened(path: Path) -> IO[bytes]:
    """The file's content as a buffered stream, decompressed where its suffix says so.

    Reading raises `DamagedError` where the data are truncated, corrupt, not compressed at all, or a bomb.

    Raises:
        OSError: the file cannot be opened.
    """
    file = path.open("rb")
    if not is_compressed(path):
        return file
    return io.BufferedReader(_Decompressed(file, _DECOMPRESSORS[path.suffix.lower()]), 1 << 16)


class _Decompressed(io.RawIOBase):
    """What comes out of a compressed file, watched."""

    def __init__(self, file: IO[bytes], decompressor: Callable[[IO[bytes]], IO[bytes]]) -> None:
        super().__init__()
        self._file, self._stream, self._out = file, decompressor(file), 0

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill the buffer with as much as there is.

        Raises:
            DamagedError: nothing more can or may be read.
        """
        try:
            data = self._stream.read(len(buffer))
        except _BROKEN as error:
            reason = str(error) or type(error).__name__
            where = f"after {self._out} bytes of content, at byte {self._file.tell()} of the file"
            raise DamagedError("damaged", f"cannot be decompressed {where} ({reason})") from error
        self._out += len(data)
        allowed = max(UNSUSPECTED_BYTES, MAX_RATIO * self._file.tell())
        if self._out > allowed:
            reason = f"unpacks to more than {MAX_RATIO} times its size; read up to byte {self._out}"
            raise DamagedError("decompression-bomb", reason)
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Close the file underneath."""
        self._file.close()
        super().close()


def _zstandard(file: IO[bytes]) -> IO[bytes]:
    import pyarrow as pa

    return cast(IO[bytes], pa.CompressedInputStream(pa.PythonFile(file, "r"), "zstd"))


_DECOMPRESSORS: dict[str, Callable[[IO[bytes]], IO[bytes]]] = {
    ".gz": lambda file: cast(IO[bytes], gzip.GzipFile(fileobj=file)),
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
    ".zst": _zstandard,
}
