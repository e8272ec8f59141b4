"""Members of a user's archives, as blobs that stream by: zip, tar and compressed tar.

Nothing is ever extracted to a path made from a member's name, so ``..``, links and the tricks that get past the
filters of `tarfile` (CVE-2025-4517) have nothing to act on. They are quarantined all the same, because an
archive that holds them was not made to be read.
"""

from __future__ import annotations

import io
import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Literal

from tasks.sources.blobs import visible
from tasks.sources.compression import MAX_RATIO, UNSUSPECTED_BYTES, DamagedError
from tasks.sources.outcomes import Bad

MAX_MEMBERS = 100_000
MAX_MEMBER_BYTES = 32 << 30
MAX_TOTAL_BYTES = 256 << 30
BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    ValueError,
    ArithmeticError,
    LookupError,
    NotImplementedError,
)
_MAX_NAME, _MAX_PART, _SHOWN = 1024, 255, 200
_DRIVE = re.compile(r"[A-Za-z]:")
_BLOCK = 1 << 16


@dataclass(slots=True)
class Books:
    """What has come out of one archive, and whether it can be read on."""

    uri: str
    packed: int | None = None  # bytes of the archive, where they bound what may come out of it
    out: int = 0
    broken: bool = False
    spent: bool = False
    count: int = 0
    names: set[str] = field(default_factory=set)

    def refusal(self, name: str, raw_name: str, regular: bool) -> Bad | None:
        """Why a member must not be read, or None; remembers its name."""
        where = f"{self.uri}!{shown(raw_name)}"
        wrong = hostile(raw_name)
        if wrong:
            return Bad(where, where, "archive-path", f"a member's name {wrong}")
        if not regular:
            return Bad(where, where, "archive-link", "the member is a link, a device or another special file")
        if name in self.names:
            return Bad(where, where, "archive-duplicate", "a member of this name was there before")
        self.names.add(name)
        return None

    def full(self) -> Bad | None:
        """Count one more entry; a ``Bad`` once there are too many."""
        self.count += 1
        return too_many(self.uri) if self.count > MAX_MEMBERS else None


@dataclass(slots=True)
class Member:
    """A member whose turn it is; it can be opened once, and only until the next one."""

    name: str
    uri: str
    books: Books
    opener: Callable[[], IO[bytes]]
    packed: int | None = None

    def open(self, mode: Literal["rb"]) -> io.BufferedReader:
        """Its bytes, watched.

        Raises:
            DamagedError: it cannot be opened.
        """
        with told(self.books):
            stream = self.opener()
        return io.BufferedReader(_Watched(stream, self), _BLOCK)


Members = Iterator[Member | Bad]


class _Watched(io.RawIOBase):
    """What comes out of a member, counted for itself and for its archive."""

    def __init__(self, stream: IO[bytes], member: Member) -> None:
        super().__init__()
        self._stream, self._books, self._out = stream, member.books, 0
        self._allowed = bound(member.packed, MAX_MEMBER_BYTES)
        self._allowed_in_all = bound(member.books.packed, MAX_TOTAL_BYTES)

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill the buffer with as much as there is.

        Raises:
            DamagedError: nothing more can or may be read.
        """
        with told(self._books):
            data = self._stream.read(min(len(buffer), _BLOCK))
        self._out += len(data)
        self._books.out += len(data)
        if self._books.out > self._allowed_in_all:
            self._books.spent = True
            raise DamagedError("decompression-bomb", "unpacks to more than may be read from one archive")
        if self._out > self._allowed:
            raise DamagedError("decompression-bomb", f"unpacks to more than {self._allowed} bytes")
        buffer[: len(data)] = data
        return len(data)

    def tell(self) -> int:
        """How many bytes have come out."""
        return self._out

    def close(self) -> None:
        """Close the stream underneath."""
        self._stream.close()
        super().close()


@contextmanager
def told(books: Books) -> Iterator[None]:
    """Make one `DamagedError` of whatever an archive's reader raises, and note that its stream is broken.

    Raises:
        DamagedError: see above; errors of the disk or the network stay what they are.
    """
    try:
        yield
    except DamagedError:
        books.broken = True
        raise
    except BROKEN as error:
        if getattr(error, "errno", None) is not None:
            raise
        books.broken = True
        raise DamagedError("damaged", f"cannot be read ({str(error) or type(error).__name__})") from error


def bound(packed: int | None, most: int) -> int:
    """How much may come out of so many packed bytes; None where another layer watches their ratio."""
    return most if packed is None else min(most, max(UNSUSPECTED_BYTES, MAX_RATIO * packed))


def hostile(name: str) -> str:
    """What is wrong with a member's name, or nothing."""
    parts = name.split("/")
    if not name or "\x00" in name:
        return "is empty or has a NUL character"
    if name.startswith("/") or _DRIVE.match(name):
        return "is an absolute path"
    if "\\" in name or ".." in parts:
        return "leads out of its folder"
    if len(name.encode("utf-8", "replace")) > _MAX_NAME or max(map(len, parts)) > _MAX_PART:
        return "is too long"
    return ""


def shown(name: str) -> str:
    """A member's name, safe to put into a uri."""
    escaped = visible(name).replace("\x00", "\\0")
    return escaped if len(escaped) <= _SHOWN else escaped[:_SHOWN] + "…"


def plain(name: str) -> str:
    """A name without the ``.`` parts that tar writes."""
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def too_many(uri: str) -> Bad:
    """The rest of an archive with too many entries."""
    return Bad(uri, uri, "archive-members", f"the archive has more than {MAX_MEMBERS} members")
