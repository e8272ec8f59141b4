"""Members of tar archives, in one pass over a stream.

`tarfile` takes a damaged header in the middle, and a missing end, for the end of the archive, and so loses in
silence what comes after. Here both are damage.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from typing import IO, Any, cast

from tasks.sources.compression import AsItComes, Blob, DamagedError, opened
from tasks.sources.outcomes import Bad
from tasks.sources.unpacking import Books, Member, Members, plain, shown, told

_BLOCK = 1 << 18
_MOST_NAMED = 1 << 20  # tarfile holds long names and extended headers in memory, whatever their size
_EXTENDED = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


class _Entry(tarfile.TarInfo):
    """A header that is read or refused, never taken for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Entry:
        """Parse one header block.

        Raises:
            DamagedError: it is no header, or it asks for too much memory.
            tarfile.HeaderError: it is the mark of the end.
        """
        if len(buf) == tarfile.BLOCKSIZE and not any(buf):
            return super().frombuf(buf, encoding, errors)
        try:
            entry = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            reason = "ends without its end mark" if len(buf) < tarfile.BLOCKSIZE else f"has a {error}"
            raise DamagedError("damaged", f"is no whole tar archive: it {reason}") from error
        if entry.size < 0 or (entry.type in _EXTENDED and entry.size > _MOST_NAMED):
            raise DamagedError("damaged", f"has a header of {entry.size} bytes")
        return entry


def tar_members(blob: Blob, uri: str) -> Members:
    """Every file in a tar archive, compressed or not, in its order.

    Raises:
        DamagedError: the archive cannot be read on.
        OSError: it cannot be opened.
    """
    books = Books(uri)
    with opened(blob) as stream:
        with told(books):
            archive = tarfile.open(  # noqa: SIM115 (closing it would read on in a broken stream)
                fileobj=cast(IO[bytes], AsItComes(stream)),
                mode="r|",
                bufsize=_BLOCK,
                tarinfo=_Entry,
                errors="surrogateescape",
            )
        while (entry := _next(archive, books)) is not None:
            cast(Any, archive).members.clear()  # else a million headers stay in memory
            full = books.full()
            if full:
                yield full
                return
            if not entry.isdir():
                yield _member(archive, entry, books)
            if books.broken or books.spent:
                return
        _refuse_rest(archive, books)


def _next(archive: tarfile.TarFile, books: Books) -> tarfile.TarInfo | None:
    with told(books):
        return archive.next()


def _member(archive: tarfile.TarFile, entry: tarfile.TarInfo, books: Books) -> Member | Bad:
    name = plain(entry.name)
    refusal = books.refusal(name, entry.name, entry.isreg() and not entry.issparse())
    if refusal:
        return refusal
    opener = cast(Callable[[], IO[bytes]], lambda: archive.extractfile(entry))
    return Member(name, f"{books.uri}!{shown(name)}", books, opener)


def _refuse_rest(archive: tarfile.TarFile, books: Books) -> None:
    """Read to the end: checksums of compressed files come last, and only zeros may follow the end mark."""
    stream = cast(IO[bytes], archive.fileobj)
    with told(books):
        while block := stream.read(_BLOCK):
            if any(block):
                raise DamagedError("damaged", "has data after its end mark")
