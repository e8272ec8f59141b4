"""Feeds and sitemaps become documents, politely, with every entry accounted for; a real server answers."""

from __future__ import annotations

import gzip
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from web_server import Site, in_turn, serving, whole

from tasks import tables
from tasks.errors import SourceError
from tasks.sources import downloads, feeds
from tasks.sources.config import FeedSource, IngestionConfig
from tasks.sources.ingest import ingest
from tasks.sources.observation import observe
from tasks.sources.outcomes import Bad, Kept, LeftOut

PAGE = "<html><head><meta charset=utf-8></head><body><p>Café number {}</p></body></html>"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("UNVEIL_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(downloads, "_PAUSES", (0.0, 0.01, 0.01, 0.01))
    with serving() as found:
        for number in range(4):
            found.answers[f"/{number}.html"] = whole(PAGE.format(number).encode())
        yield found


def rss(site: Site, *paths: str, extra: str = "") -> bytes:
    items = "".join(f"<item><title>t</title><link>{site.url(path)}</link></item>" for path in paths)
    return f'<?xml version="1.0"?><rss version="2.0"><channel>{items}{extra}</channel></rss>'.encode()


def source(site: Site, path: str = "/feed", **changes: Any) -> FeedSource:
    values = {
        "url": site.url(path),
        "domain": "web",
        "licence": "CC0-1.0",
        "allow_private": True,
        "delay": 0.0,
    }
    return FeedSource.model_validate(values | changes)


def read(found: FeedSource) -> list[Any]:
    return list(feeds.read(found, 1 << 20))


def test_the_pages_of_a_feed_become_documents(site: Site, tmp_path: Path) -> None:
    site.answers["/feed"] = whole(rss(site, "/0.html", "/1.html", "/1.html"))
    config = IngestionConfig(sources=(source(site),))
    observed = observe(config)
    (tmp_path / "out").mkdir()
    summary = ingest({}, config, tmp_path / "out")
    rows = list(tables.iterate(tmp_path / "out" / "documents.parquet"))
    assert summary.documents == 2 and len(observed) == 3
    assert [(row["uri"], row["format"]) for row in rows] == [
        (site.url("/0.html"), "html"),
        (site.url("/1.html"), "html"),
    ]
    assert "Café number 0" in rows[0]["text"]
    assert [path for path, _ in site.asked].count("/0.html") == 1


FORMS = {
    "atom": '<feed xmlns="http://www.w3.org/2005/Atom"><entry><link rel="self" href="/x"/><link href="0.html"/></entry>'
    '<entry><link rel="alternate" href="/1.html"/></entry></feed>',
    "sitemap": '<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"><url><loc>/0.html</loc></url>'
    "<url><loc> /1.html </loc><lastmod>2026-01-01</lastmod></url></urlset>",
    "rss 1.0": '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/">'
    "<item><link>/0.html</link></item><item><link>/1.html</link></item></rdf:RDF>",
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("packed", [False, True])
def test_every_kind_of_feed_is_read_also_compressed(site: Site, form: str, packed: bool) -> None:
    body = FORMS[form].encode()
    site.answers["/feed.xml.gz" if packed else "/feed.xml"] = whole(gzip.compress(body) if packed else body)
    found = read(source(site, "/feed.xml.gz" if packed else "/feed.xml"))
    assert [kept.uri for kept in found] == [site.url("/0.html"), site.url("/1.html")]


def test_an_index_of_sitemaps_is_followed_once_each(site: Site) -> None:
    index = "<sitemapindex>" + "".join(
        f"<sitemap><loc>/{n}.xml</loc></sitemap>" for n in ("a", "b", "a", "index")
    )
    site.answers["/index.xml"] = whole(f"{index}</sitemapindex>".encode())
    for name, number in (("a", 0), ("b", 1)):
        site.answers[f"/{name}.xml"] = whole(
            f"<urlset><url><loc>/{number}.html</loc></url></urlset>".encode()
        )
    assert [kept.uri for kept in read(source(site, "/index.xml"))] == [
        site.url("/0.html"),
        site.url("/1.html"),
    ]


def test_what_cannot_be_had_is_told_for_each_entry(site: Site) -> None:
    site.answers |= {
        "/robots.txt": whole(b"User-agent: *\nDisallow: /2.html\n"),
        "/latin.html": whole(b"<meta charset=utf-8>caf\xe9"),
        "/large.html": whole(b"x" * 5_000),
    }
    elsewhere = (
        "<item><link>http://elsewhere.example/a</link></item><item><link>file:///etc/passwd</link></item>"
    )
    paths = ("/0.html", "/gone.html", "/2.html", "/latin.html", "/large.html")
    site.answers["/feed"] = whole(rss(site, *paths, extra=elsewhere))
    kept, gone, refused, latin, large, other, file = read(source(site, max_bytes=3_000, same_host=True))
    assert isinstance(kept, Kept)
    assert isinstance(gone, Bad) and "the server answers 404" in gone.reason
    assert refused == LeftOut("robots.txt asks not to")
    assert isinstance(latin, Bad) and latin.rule == "encoding"
    assert isinstance(large, Bad) and "more than 3000 bytes" in large.reason
    assert other == LeftOut("page of another host")
    assert isinstance(file, Bad) and "no http or https" in file.reason
    assert not [path for path, _ in site.asked if path == "/2.html"]


def test_the_text_in_the_feed_itself_is_taken_if_wanted(site: Site) -> None:
    items = (
        "<item><link>/a</link><description>short</description>"
        '<encoded xmlns="http://purl.org/rss/1.0/modules/content/">&lt;p&gt;Long text&lt;/p&gt;</encoded></item>'
        "<item><link>/b</link></item>"
    )
    site.answers["/feed"] = whole(rss(site, extra=items))
    first, second = read(source(site, content="embedded"))
    assert first.values == {"text": "<p>Long text</p>", "format": "html"}
    assert second == LeftOut("no text of its own") and len(site.asked) == 1


def test_a_limit_ends_the_walk(site: Site) -> None:
    site.answers["/feed"] = whole(rss(site, *(f"/{n}.html" for n in range(4))))
    assert len(read(source(site, limit=2))) == 2
    assert not [path for path, _ in site.asked if path == "/2.html"]


def test_a_host_is_left_alone_between_two_questions(site: Site) -> None:
    site.answers["/feed"] = whole(rss(site, "/0.html", "/1.html"))
    started = time.monotonic()
    feeds.digests(source(site, delay=0.2))
    assert time.monotonic() - started >= 3 * 0.2  # the feed, robots.txt and two pages


HOSTILE = {
    "entities": '<!DOCTYPE r [<!ENTITY a "x">]><rss><channel><item><link>&a;</link></item></channel></rss>',
    "a file": '<!DOCTYPE r [<!ENTITY a SYSTEM "file:///etc/passwd">]><rss><item><link>&a;</link></item></rss>',
    "laughs": "<!DOCTYPE r [<!ENTITY a0 'ha'>"
    + "".join(f"<!ENTITY a{n} '{f'&a{n - 1};' * 10}'>" for n in range(1, 12))
    + "]><rss><item><link>&a11;</link></item></rss>",
    "html": "<html><body>Please log in</body></html>",
    "no xml": "hello",
    "nothing": "",
    "depth": "<rss>" + "<a>" * 100_000 + "</a>" * 100_000 + "</rss>",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_feed_is_refused_in_one_line(site: Site, name: str) -> None:
    site.answers["/feed"] = whole(HOSTILE[name].encode())
    with pytest.raises(SourceError) as caught:
        read(source(site))
    told = str(caught.value)
    assert "/feed" in told and "\n" not in told and "root:" not in told
    assert "document type" in told or "no feed" in told


@pytest.mark.parametrize("refresh", [True, False])
def test_another_version_of_a_page_is_seen_if_it_is_asked_for(site: Site, refresh: bool) -> None:
    site.answers["/feed"] = whole(rss(site, "/0.html"))
    config = IngestionConfig(sources=(source(site, refresh=refresh),))
    first = observe(config)
    assert observe(config) == first
    site.answers["/0.html"] = in_turn(whole(b"another", '"2"'))
    assert (observe(config) != first) is refresh


def test_a_private_feed_needs_leave(site: Site) -> None:
    site.answers["/feed"] = whole(rss(site, "/0.html"))
    with pytest.raises(SourceError, match="no public address"):
        read(source(site, allow_private=False))
