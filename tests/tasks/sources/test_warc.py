from __future__ import annotations

import gzip
import hashlib
import zlib
from base64 import b32encode
from pathlib import Path

import pytest
from archives_of_ours import COMPRESSORS, archive_of, http, warc
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.sources import files
from tasks.sources.config import FilesSource
from tasks.sources.outcomes import Bad, Kept, LeftOut, Outcome

LIMIT = 1 << 16
URL = "https://a.example/page"


def read(path: Path, data: bytes | None = None) -> list[Outcome]:
    if data is not None:
        path.write_bytes(data)
    source = FilesSource(path=str(path), domain="web", licence="CC-BY-4.0")
    return list(files.read(source, files.interpreter(source, LIMIT), LIMIT))


def only(tmp_path: Path, *headers: str, body: bytes = b"<p>x</p>", **of: str) -> Outcome:
    (outcome,) = read(tmp_path / "a.warc", warc("response", URL, http(body, *headers, **of)))
    return outcome


def test_pages_are_kept_and_every_other_record_is_left_out_with_its_reason(tmp_path: Path) -> None:
    records = [
        warc("warcinfo", "", b"software: ours\r\n", content="application/warc-fields"),
        warc("request", URL, b"GET /page HTTP/1.1\r\n\r\n"),
        warc("response", URL, http(b"<p>one</p>")),
        warc("response", f"<{URL}2>", http(b"two", content="text/plain; charset=utf-8")),
        warc("response", f"{URL}3", http(b"<p>three</p>", content="application/xhtml+xml")),
        warc("response", URL, http(b"gone", status="404 Not Found")),
        warc("response", URL, http(b"\x89PNG", content="image/png")),
        warc("response", URL, http(b"what", content="")),
        warc("response", URL, http(b"<p>hal"), "WARC-Truncated: length"),
        warc("response", "dns:a.example", b"20260101 1.2.3.4\n", content="text/dns"),
        warc("revisit", URL, http(b"")),
        warc("metadata", URL, b""),
    ]
    outcomes = read(tmp_path / "a.warc", b"".join(records))
    name = f"file:{tmp_path.name}/a.warc"
    assert [o for o in outcomes if isinstance(o, Kept)] == [
        Kept(URL, {"text": "<p>one</p>", "format": "html"}, f"{name}#R3"),
        Kept(f"{URL}2", {"text": "two", "format": "text"}, f"{name}#R4"),
        Kept(f"{URL}3", {"text": "<p>three</p>", "format": "html"}, f"{name}#R5"),
    ]
    assert [o.reason for o in outcomes if isinstance(o, LeftOut)] == [
        *("not a page", "not a page", "status 404", "not a page", "not a page"),
        *("cut off by the crawler", "not a page", "not a page", "not a page"),
    ]
    assert len(outcomes) == len(records)


@pytest.mark.parametrize("suffix", ["gz", "zst", "bz2", "xz"])
def test_records_compressed_one_by_one_are_read_whole(tmp_path: Path, suffix: str) -> None:
    records = [warc("response", f"{URL}{n}", http(b"<p>%d</p>" % n)) for n in range(3)]
    outcomes = read(tmp_path / f"a.warc.{suffix}", b"".join(map(COMPRESSORS[suffix], records)))
    assert [kept.uri for kept in outcomes if isinstance(kept, Kept)] == [f"{URL}{n}" for n in range(3)]


@pytest.mark.parametrize(
    ("body", "content", "expected"),
    [
        ("<p>é</p>".encode(), "text/html", "<p>é</p>"),
        ("<p>é</p>".encode("latin-1"), "text/html; charset=ISO-8859-1", "<p>é</p>"),
        ("<p>“”</p>".encode("cp1252"), 'text/html; charset="iso-8859-1"', "<p>“”</p>"),
        ("<p>я</p>".encode("koi8-r"), "text/html;charset=KOI8-R", "<p>я</p>"),
        ('<meta charset="shift_jis">日本'.encode("shift_jis"), "text/html", '<meta charset="shift_jis">日本'),
        ('<meta charset="utf-16">é'.encode(), "text/html", '<meta charset="utf-16">é'),
        ("<p>é</p>".encode("utf-16"), "text/html; charset=latin-1", "<p>é</p>"),
        (b"\xef\xbb\xbfmark", "text/plain", "mark"),
    ],
)
def test_the_charset_is_the_marks_the_headers_the_pages_or_utf8(
    tmp_path: Path, body: bytes, content: str, expected: str
) -> None:
    kept = only(tmp_path, body=body, content=content)
    assert isinstance(kept, Kept) and kept.values["text"] == expected


def chunked(body: bytes) -> bytes:
    return b"%x;x=y\r\n" % len(body) + body + b"\r\n0\r\n\r\n"


def raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


@pytest.mark.parametrize(
    ("headers", "packed"),
    [
        (["Content-Encoding: gzip"], gzip.compress),
        (["Content-Encoding: deflate"], zlib.compress),
        (["Content-Encoding: deflate"], raw_deflate),
        (["Transfer-Encoding: chunked"], chunked),
        (["Transfer-Encoding: chunked"], bytes),  # undone by the crawler, which left the header
        (["Transfer-Encoding: chunked", "Content-Encoding: gzip"], lambda body: chunked(gzip.compress(body))),
        (["Content-Encoding: identity"], bytes),
    ],
)
def test_what_http_did_to_the_page_is_undone(tmp_path: Path, headers: list[str], packed: object) -> None:
    kept = only(tmp_path, *headers, body=packed(b"<p>page</p>"))  # type: ignore[operator]
    assert isinstance(kept, Kept) and kept.values["text"] == "<p>page</p>"


@pytest.mark.parametrize(
    ("headers", "body", "content", "rule"),
    [
        ([], b"caf\xe9", "text/html", "encoding"),
        ([], b"x", "text/html; charset=utf-7", "encoding"),
        ([], b"x", "text/html; charset=rot13", "encoding"),
        ([], b"x", "text/html; charset=nonsense", "encoding"),
        (["Content-Encoding: br"], b"x", "text/html", "encoding"),
        (["Content-Encoding: gzip"], b"no gzip", "text/html", "http"),
        (["Content-Encoding: gzip"], gzip.compress(b"cut " * 99, mtime=0)[:-6], "text/html", "http"),
        (["Transfer-Encoding: chunked"], chunked(b"cut off")[:-9], "text/html", "http"),
        ([], b"x" * (LIMIT + 1), "text/html", "too-large"),
        (["Content-Encoding: gzip"], gzip.compress(b"0" * (64 << 20), mtime=0), "text/html", "too-large"),
        ([], b"", "text/html", "empty"),
        ([], b"nul \x00", "text/html", "nul"),
    ],
)
def test_a_page_that_cannot_be_used_is_quarantined(
    tmp_path: Path, headers: list[str], body: bytes, content: str, rule: str
) -> None:
    bad = only(tmp_path, *headers, body=body, content=content)
    assert isinstance(bad, Bad) and bad.rule == rule
    assert bad.where == f"file:{tmp_path.name}/a.warc record 1"


def test_a_record_far_too_large_is_not_read_into_memory(tmp_path: Path) -> None:
    after = warc("response", URL, http(b"after"))
    outcomes = read(tmp_path / "a.warc", warc("response", URL, http(b"x" * (4 << 20))) + after)
    assert [getattr(o, "rule", "kept") for o in outcomes] == ["too-large", "kept"]


def test_a_block_is_compared_with_its_digest(tmp_path: Path) -> None:
    block = http(b"<p>page</p>")
    digests = [
        "sha1:" + b32encode(hashlib.sha1(block).digest()).decode(),
        "sha-256:" + hashlib.sha256(block).hexdigest(),
        "unheard-of:x",
    ]
    for digest in digests:
        header = f"WARC-Block-Digest: {digest}"
        good = warc("response", URL, block, header)
        assert isinstance(read(tmp_path / "a.warc", good)[0], Kept)
        (outcome,) = read(tmp_path / "a.warc", good.replace(b"<p>page", b"<p>pagf"))
        assert isinstance(outcome, Kept) == digest.startswith("unheard")
        assert getattr(outcome, "rule", "") == ("" if digest.startswith("unheard") else "digest")


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-30],
        lambda data: data[: data.rindex(b"WARC-Type") + 3],
        lambda data: data + b"garbage\r\n",
        lambda data: data.replace(b"Content-Length: ", b"Content-Length: -", 1),
        lambda data: data.replace(b"Content-Length", b"Content-Lengtx"),
        lambda data: data + b"WARC/1.0\r\n" + b"x" * 200_000,
        lambda data: data + b"WARC/1.0\r\n" + b"a: b\r\n" * 400_000,
        lambda data: b"<html>not found</html>",
    ],
)
def test_a_damaged_file_keeps_what_comes_before(tmp_path: Path, damage: object) -> None:
    good = warc("response", URL, http(b"first"))
    outcomes = read(tmp_path / "a.warc", damage(good + warc("response", URL, http(b"x" * 40))))  # type: ignore[operator]
    assert [o.rule for o in outcomes if isinstance(o, Bad)] == ["damaged"]
    assert isinstance(outcomes[-1], Bad)
    assert [o.values["text"] for o in outcomes if isinstance(o, Kept)] in ([], ["first"], ["first", "x" * 40])


def test_a_record_without_address_or_http_is_quarantined(tmp_path: Path) -> None:
    data = warc("response", "", http(b"page")) + warc("response", URL, b"no http\r\n\r\n")
    assert [o.rule for o in read(tmp_path / "a.warc", data) if isinstance(o, Bad)] == ["identifier", "http"]


def test_an_empty_file_and_one_in_an_archive(tmp_path: Path) -> None:
    assert [o.rule for o in read(tmp_path / "a.warc", b"") if isinstance(o, Bad)] == ["empty"]
    archive_of(tmp_path / "b.zip", [("crawl/a.warc", warc("response", URL, http(b"page")))])
    (kept,) = read(tmp_path / "b.zip")
    assert isinstance(kept, Kept)
    assert (kept.uri, kept.place) == (URL, f"file:{tmp_path.name}/b.zip!crawl/a.warc#R1")


@settings(max_examples=60, deadline=None)
@given(
    flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), max_size=4), cut=st.integers(0, 150)
)
def test_any_damage_ends_in_records_or_told_losses(
    tmp_path_factory: pytest.TempPathFactory, flips: list[tuple[int, int]], cut: int
) -> None:
    data = bytearray(b"".join(warc("response", URL, http(b"page %d" % n)) for n in range(4)))
    for place, change in flips:
        data[place % len(data)] ^= change
    outcomes = read(tmp_path_factory.mktemp("any") / "a.warc", bytes(data[: len(data) - cut]))
    assert len(outcomes) >= 4 or any(isinstance(o, Bad) for o in outcomes) or not (flips or cut)
