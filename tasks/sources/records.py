"""Records of a user's files, strictly and in bounded memory: whole texts, JSON lines, CSV and TSV.

Each reader yields a ``Record`` (its place and its fields) or a ``Bad`` for what is not one; nothing is
repaired, guessed or skipped in silence. Blank lines are no records. The readers of `datasets` are not used:
they accept a 600 MB line (4.6 GB of memory), turn a missing field into null, and reject a file unnamed.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any, NoReturn

from tasks.errors import SourceError
from tasks.sources.compression import Blob, opened
from tasks.sources.outcomes import Bad, LeftOut, Place

_BLOCK = 1 << 20
_KEPT_OF_A_LONG_LINE = 1 << 12
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True, slots=True)
class Record:
    """One record as the file has it."""

    place: Place
    fields: dict[str, Any]


Records = Iterator[Record | Bad | LeftOut]
Reader = Callable[[Blob, str, int], Records]


def whole_text(blob: Blob, uri: str, limit: int) -> Records:
    """A file that is one record: its field is ``text``. UTF-8, or UTF-16 where a byte order mark says so."""
    with opened(blob) as handle:
        raw = handle.read(limit + 1)
        size = _size(handle, raw)
    place = Place(uri, uri, raw)
    if not raw:
        yield place.bad("empty", "the file is empty")
        return
    if len(raw) > limit:
        place.raw = raw[:_KEPT_OF_A_LONG_LINE]
        yield place.bad(
            "too-large", f"the file has {size} bytes or more, above max_document_bytes ({limit})", size
        )
        return
    try:
        yield Record(place, {"text": _decode(raw)})
    except UnicodeDecodeError as error:
        yield place.bad("encoding", _not_utf8(error))


def json_lines(blob: Blob, uri: str, limit: int) -> Records:
    """One JSON object a line. A key that is there twice, NaN and anything that is no object are refused."""
    for place, line in _lines(blob, uri, limit):
        if isinstance(line, Bad):
            yield line
            continue
        if not line.strip():
            continue
        try:
            value = json.loads(line, object_pairs_hook=_object, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            yield place.bad("json", f"the line is no JSON: {short(error)}")
            continue
        if isinstance(value, dict):
            yield Record(place, value)
        else:
            yield place.bad("json", f"the line is a JSON {type(value).__name__}, not an object")


def separated(delimiter: str) -> Reader:
    """A reader of CSV (or TSV) with a header line; quoting as spreadsheets do it, nothing tolerated."""

    def read(blob: Blob, uri: str, limit: int) -> Records:
        lines = _Feed(_lines(blob, uri, limit))
        before = csv.field_size_limit(limit)
        try:
            yield from _rows(csv.reader(lines, delimiter=delimiter, strict=True), lines, uri)
        finally:
            csv.field_size_limit(before)

    return read


def _lines(blob: Blob, uri: str, limit: int) -> Iterator[tuple[Place, str | Bad]]:
    """Lines decoded one by one; one too long or no UTF-8 is a ``Bad``, and reading goes on after it."""
    with opened(blob) as handle:
        start = handle.read(len(codecs.BOM_UTF8))
        if start[:2] in _UTF16:
            place = Place(uri, uri, start)
            yield place, place.bad("encoding", "the file is UTF-16; convert it to UTF-8")
            return
        first = b"" if start == codecs.BOM_UTF8 else start
        for number, (raw, size) in enumerate(_raw_lines(handle, limit, first), 1):
            place = Place(f"{uri}#L{number}", f"{uri}:{number}", raw)
            if size > limit:
                yield (
                    place,
                    place.bad("too-large", f"the line has {size} bytes, more than max_document_bytes", size),
                )
                continue
            try:
                yield place, raw.decode()
            except UnicodeDecodeError as error:
                yield place, place.bad("encoding", _not_utf8(error))


def _raw_lines(handle: IO[bytes], limit: int, first: bytes) -> Iterator[tuple[bytes, int]]:
    """Lines and their sizes; of a line longer than ``limit`` only the beginning is kept in memory.

    Args:
        handle: the stream, which need not be seekable.
        limit: bytes of the longest line.
        first: what was taken from the stream already; it may hold line ends.
    """
    *whole, rest = first.split(b"\n")
    for line in whole:
        yield line + b"\n", len(line.rstrip(b"\r"))
    while raw := rest + handle.readline(limit + 2 - len(rest)):
        rest = b""
        if len(raw) <= limit or raw.endswith(b"\n"):
            yield raw, len(raw.rstrip(b"\r\n"))
            continue
        size, raw = len(raw), raw[:_KEPT_OF_A_LONG_LINE]
        while more := handle.readline(_BLOCK):
            size += len(more.rstrip(b"\r\n")) if more.endswith(b"\n") else len(more)
            if more.endswith(b"\n"):
                break
        yield raw, size


class _Feed:
    """Lines for the csv module, remembering which were taken and stepping over those that are no text."""

    def __init__(self, lines: Iterator[tuple[Place, str | Bad]]) -> None:
        self._lines = lines
        self.bad: list[Bad] = []
        self.taken: list[Place] = []

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        for place, line in self._lines:
            if not isinstance(line, Bad):
                self.taken.append(place)
                return line
            self.bad.append(line)
        raise StopIteration

    def drain(self) -> tuple[list[Place], list[Bad]]:
        """What was read since the last call."""
        taken, bad = self.taken, self.bad
        self.taken, self.bad = [], []
        return taken, bad


def _rows(reader: Iterator[list[str]], feed: _Feed, uri: str) -> Records:
    header: list[str] | None = None
    while True:
        problem, row = "", None
        try:
            row = next(reader, None)
        except csv.Error as error:
            problem = short(error)
        taken, bad = feed.drain()
        yield from bad
        if row is None and not problem:
            return
        if row == []:  # a blank line
            continue
        if header is None:
            header = _header(row, problem, uri)
        elif problem or len(row or []) != len(header):
            # An open quote swallows the lines after it: each of them is lost, so each of them is counted.
            reason = problem or f"the row has {len(row or [])} cells, the header {len(header)}"
            yield from (place.bad("csv", reason) for place in taken)
        else:
            yield Record(taken[0], dict(zip(header, row or [], strict=True)))


def _header(row: list[str] | None, problem: str, uri: str) -> list[str]:
    if problem or not row:
        raise SourceError(f"has no readable header line ({problem})", where=f"{uri}:1")
    if len(set(row)) != len(row):
        raise SourceError("names a column twice in its header", where=f"{uri}:1", remedy="rename one of them")
    return row


def _size(handle: io.BufferedReader, raw: bytes) -> int:
    """The whole size where it is known; of what streams by, as much as was read."""
    return handle.seek(0, io.SEEK_END) if handle.seekable() else len(raw)


def _decode(raw: bytes) -> str:
    if raw.startswith(_UTF16):
        return raw.decode("utf-16")
    return raw.decode("utf-8-sig")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key is there twice")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _not_utf8(error: UnicodeDecodeError) -> str:
    return f"not valid {error.encoding.upper()} at byte {error.start}: {error.reason}"


def short(error: BaseException) -> str:
    """The first line of what an error of a library says."""
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
