"""The text of a page as a server sent it: HTTP chunks, content encoding and charset undone, within a limit."""

from __future__ import annotations

import codecs
import io
import re
import zlib
from typing import Any

from tasks.sources.outcomes import LeftOut

_KINDS = {"text/html": "html", "application/xhtml+xml": "html", "text/plain": "text"}
_CHUNK = re.compile(rb"[0-9A-Fa-f]{1,8}[ \t]*(;[^\r\n]*)?\r\n")
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([^\s\"';,]+)", re.IGNORECASE)
_META = re.compile(rb"<meta[^>]{0,400}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]{1,40})", re.IGNORECASE)
_META_WITHIN = 4096
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
# What browsers decode; Python knows more, such as UTF-7, which has no place in a page.
_CODEC = re.compile(
    r"utf-8|utf-16(-[lb]e)?|iso8859-\d+|cp125\d|cp866|cp874|cp932|cp949|koi8-[ru]|mac-(roman|cyrillic)"
    r"|gbk|gb2312|gb18030|big5|big5hkscs|euc_(jp|kr)|shift_jis|iso2022_jp|tis-620"
)
_BROWSERS = {"ascii": "cp1252", "iso8859-1": "cp1252"}  # as the WHATWG's Encoding Standard has it
_PLAIN = ("", "identity", "none")


class PageError(Exception):
    """A page that cannot be decoded; ``rule`` and the message are those of its quarantine."""

    def __init__(self, rule: str, reason: str, value: float = 0.0) -> None:
        super().__init__(reason)
        self.rule, self.value = rule, value


def kind_of(header: Any) -> str | LeftOut:
    """``html`` or ``text``, or why a response is no page."""
    status = header.get_statuscode()
    if status != "200":
        return LeftOut(f"status {status}" if re.fullmatch(r"[1-5]\d\d", status) else "no HTTP status")
    media = _value(header, "Content-Type").split(";")[0].strip().lower()
    return _KINDS.get(media) or LeftOut("not a page")


def body_of(header: Any, body: bytes, limit: int) -> bytes:
    """The body without chunks and content encoding.

    Raises:
        PageError: it is too large, cut off, damaged, or encoded in a way that is not read.
    """
    if _value(header, "Transfer-Encoding").lower() == "chunked" and _CHUNK.match(body):
        body = _joined(body)
    for encoding in reversed(_value(header, "Content-Encoding").lower().split(",")):
        if encoding.strip() not in _PLAIN:
            body = _inflated(body, encoding.strip(), limit)
    if len(body) > limit:
        raise _too_large(len(body), limit)
    return body


def text_of(body: bytes, header: Any, kind: str) -> str:
    """Decode a body as its header and the page itself say.

    Raises:
        PageError: the bytes are not of that charset.
    """
    return decoded(body, _value(header, "Content-Type"), kind)


def decoded(body: bytes, content_type: str, kind: str) -> str:
    """Decode by byte order mark, the header's charset, the page's own, or as UTF-8; never by guessing.

    Raises:
        PageError: the bytes are not of that charset.
    """
    name = _codec(body, content_type, kind)
    try:
        return body.decode(name)
    except UnicodeDecodeError as error:
        raise PageError(
            "encoding", f"not valid {name.upper()} at byte {error.start}: {error.reason}"
        ) from error


def _value(header: Any, name: str) -> str:
    return str(header.get_header(name) or "").strip()


def _codec(body: bytes, content_type: str, kind: str) -> str:
    mark = next((name for mark, name in _MARKS if body.startswith(mark)), None)
    if mark:
        return mark
    said = _CHARSET.search(content_type)
    meta = _META.search(body[:_META_WITHIN]) if kind == "html" else None
    label = said[1] if said else meta[1].decode("ascii") if meta else "utf-8"
    try:
        name = codecs.lookup(label).name
    except (LookupError, ValueError):
        name = ""
    name = _BROWSERS.get(name, name)
    if not _CODEC.fullmatch(name):
        raise PageError("encoding", f"the charset {label[:40]!r} is not read")
    # A page that is read as bytes to find this is no UTF-16, whatever it says of itself.
    return "utf-8" if not said and name.startswith("utf-16") else name


def _joined(body: bytes) -> bytes:
    from warcio.bufferedreaders import ChunkedDataException, ChunkedDataReader  # type: ignore[import-untyped]

    try:
        return bytes(ChunkedDataReader(io.BytesIO(body), raise_exceptions=True).read())
    except ChunkedDataException as error:
        raise PageError("http", "the page's chunks are incomplete") from error


def _inflated(body: bytes, encoding: str, limit: int) -> bytes:
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise PageError("encoding", f"the content encoding {encoding[:40]!r} is not read")
    error: zlib.error | None = None
    # Servers send "deflate" with and without a zlib header.
    for bits in (-zlib.MAX_WBITS, zlib.MAX_WBITS) if encoding == "deflate" else (16 + zlib.MAX_WBITS,):
        stream = zlib.decompressobj(bits)
        try:
            found = stream.decompress(body, limit + 1)
        except zlib.error as caught:
            error = caught
            continue
        if len(found) > limit:
            raise _too_large(len(found), limit)
        if stream.eof and not stream.unused_data.strip(b"\x00"):
            return found
    raise PageError("http", f"the page's {encoding} data are damaged ({error or 'incomplete'})")


def _too_large(size: int, limit: int) -> PageError:
    return PageError(
        "too-large", f"the page has {size} bytes or more, above max_document_bytes ({limit})", size
    )
