"""Web pages out of WARC files (ISO 28500), one record at a time.

`warcio` parses the headers. Lengths, block digests and the sizes of lines are checked here, because it takes a
file that ends in the middle of a record, and a line of any length, without a word.
"""

from __future__ import annotations

import base64
import hashlib
import io
from dataclasses import dataclass
from typing import Any

from tasks.sources.compression import Blob, DamagedError, opened
from tasks.sources.outcomes import Bad, LeftOut, Place, unusable
from tasks.sources.records import Record, Records
from tasks.sources.warc_pages import PageError, body_of, kind_of, text_of

_BLOCK = 1 << 16
_LONGEST_LINE = 1 << 16
_LONGEST_HEADER = 1 << 20
_LONGEST_URI = 4096


def web_pages(blob: Blob, uri: str, limit: int) -> Records:
    """The pages of a WARC file: responses with status 200 that are HTML or plain text.

    Their fields are ``text``, ``uri`` (where the page was) and ``format`` (html or text). Everything else a
    WARC file holds is left out with a reason.
    """
    with opened(blob) as raw:
        stream = _Lines(raw)
        number = 0
        while (line := _first_line(stream)) is not None:
            number += 1
            block = _next(stream, line, number)
            yield _outcome(block, Place(f"{uri}#R{number}", f"{uri} record {number}"), limit)
            block.skip()


class _Lines:
    """The stream as `warcio` wants it, with an end to lines, to headers and to silence."""

    def __init__(self, stream: io.BufferedReader) -> None:
        self._stream, self._header, self.position = stream, 0, 0

    def readline(self, length: int | None = None) -> bytes:
        """One line of a header.

        Raises:
            DamagedError: the line or the header is too long to be one.
        """
        line = self._stream.readline(_LONGEST_LINE if length is None else min(length, _LONGEST_LINE))
        self._header += len(line)
        self.position += len(line)
        if len(line) == _LONGEST_LINE or self._header > _LONGEST_HEADER:
            raise DamagedError("damaged", f"has a header without end at byte {self.position} of its content")
        return line

    def read(self, size: int) -> bytes:
        """At most so many bytes of a record's block."""
        data = self._stream.read(size)
        self.position += len(data)
        return data

    def begin(self) -> None:
        """A new record, with a header of its own."""
        self._header = 0


@dataclass(slots=True)
class _Block:
    """One record: its header, and its block still in the stream."""

    header: Any
    stream: _Lines
    number: int
    left: int

    def __getitem__(self, name: str) -> str:
        return str(self.header.get_header(name) or "").strip()

    def read(self, size: int) -> bytes:
        """At most so many bytes of the block.

        Raises:
            DamagedError: the file ends before the block does.
        """
        wanted = min(size, self.left)
        data = self.stream.read(wanted)
        self.left -= len(data)
        if len(data) < wanted:
            raise DamagedError("damaged", f"ends {self.left} bytes before its record {self.number} does")
        return data

    def skip(self) -> None:
        """Read the rest of the block."""
        while self.left:
            self.read(_BLOCK)


def _first_line(stream: _Lines) -> bytes | None:
    """The first line of the next record, after the blank ones that end the one before; None at the end."""
    stream.begin()
    while line := stream.readline():
        if line.strip():
            return line
    return None


def _next(stream: _Lines, line: bytes, number: int) -> _Block:
    from warcio.exceptions import ArchiveLoadFailed  # type: ignore[import-untyped]
    from warcio.recordloader import ArcWarcRecordLoader  # type: ignore[import-untyped]

    try:
        found = ArcWarcRecordLoader().parse_record_stream(stream, line, "warc", no_record_parse=True)
    except (ArchiveLoadFailed, EOFError) as error:
        where = f"at byte {stream.position} of its content"
        raise DamagedError(
            "damaged", f"has no WARC record {where}, where record {number} should begin"
        ) from error
    length = str(found.rec_headers.get_header("Content-Length") or "").strip()
    if not (length.isascii() and length.isdigit() and len(length) < 20):
        raise DamagedError("damaged", f"does not say how long its record {number} is")
    return _Block(found.rec_headers, stream, number, int(length))


def _outcome(block: _Block, place: Place, limit: int) -> Record | Bad | LeftOut:
    if block["WARC-Type"] != "response" or not block["Content-Type"].lower().startswith("application/http"):
        return LeftOut("not a page")
    if block["WARC-Truncated"]:
        return LeftOut("cut off by the crawler")
    if block.left > limit + _LONGEST_HEADER:
        size = block.left
        return place.bad("too-large", f"the record has {size} bytes, more than max_document_bytes", size)
    expected, raw = block["WARC-Block-Digest"], block.read(block.left)
    if not _intact(raw, expected):
        return place.bad("digest", f"the block is not what its digest says ({expected[:80]})")
    return _page(raw, block["WARC-Target-URI"].strip("<>"), place, limit)


def _page(raw: bytes, target: str, place: Place, limit: int) -> Record | Bad | LeftOut:
    from warcio.statusandheaders import (  # type: ignore[import-untyped]
        StatusAndHeadersParser,
        StatusAndHeadersParserException,
    )

    stream = io.BytesIO(raw)
    try:
        header = StatusAndHeadersParser(["HTTP/1.0", "HTTP/1.1", "HTTP/2", "HTTP/3"]).parse(stream)
    except (StatusAndHeadersParserException, EOFError):
        return place.bad("http", "the record is no HTTP response")
    kind = kind_of(header)
    if isinstance(kind, LeftOut):
        return kind
    body = stream.read()
    place.raw = body[:_LONGEST_URI]
    if unusable(target, _LONGEST_URI):
        return place.bad("identifier", "the record has no usable WARC-Target-URI")
    try:
        text = text_of(body_of(header, body, limit), header, kind)
    except PageError as error:
        return place.bad(error.rule, str(error), error.value)
    return Record(place, {"text": text, "uri": target, "format": kind})


def _intact(data: bytes, expected: str) -> bool:
    """Compare with a digest such as ``sha1:BASE32``; one of an unknown kind says nothing."""
    algorithm, _, value = expected.partition(":")
    name = algorithm.lower().replace("-", "")
    if name not in ("md5", "sha1", "sha256", "sha512"):
        return True
    digest = hashlib.new(name, data, usedforsecurity=False).digest()
    return value.lower() in (digest.hex(), base64.b32encode(digest).decode().lower()) or value == (
        base64.b64encode(digest).decode()
    )
