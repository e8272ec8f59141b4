"""What stands in a feed: RSS 0.9 to 2.0, Atom (RFC 4287), sitemaps and their indexes (sitemaps.org).

Told apart by the names of the elements, whatever their namespace. A document type is refused: it is of no use here, and
entities are what attacks on parsers are made of.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urljoin

from tasks.errors import SourceError
from tasks.sources.compression import DamagedError, opened

_MOST = 64 << 20
_ENTRIES = ("item", "entry", "url")


class Entry(NamedTuple):
    """One entry: where its page is, and the text that the feed itself holds, as html or text."""

    link: str
    text: str
    format: str


def entries_of(path: Path, url: str) -> Iterator[Entry]:
    """The entries of a feed or a sitemap, in its order.

    Raises:
        SourceError: it is none.
    """
    root = _root(path, url)
    for element in root.iter():
        if _name(element) in _ENTRIES and (link := _link(element)):
            yield Entry(urljoin(url, link), *_text(element))


def nested_of(path: Path, url: str) -> list[str]:
    """The sitemaps that an index of sitemaps lists."""
    root = _root(path, url)
    if _name(root) != "sitemapindex":
        return []
    locations = (_child(element, "loc") for element in root if _name(element) == "sitemap")
    return [
        urljoin(url, text) for location in locations if location is not None and (text := _plain(location))
    ]


def _root(path: Path, url: str) -> Any:
    from lxml import etree  # type: ignore[import-untyped]

    try:
        with opened(path) as stream:
            data = stream.read(_MOST + 1)
    except DamagedError as error:
        raise SourceError(f"the file {error}", where=url) from error
    if len(data) > _MOST:
        raise SourceError(f"is a feed of more than {_MOST} bytes", where=url)
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise SourceError(f"is no feed: {str(error).splitlines()[0][:200]}", where=url) from error
    if root.getroottree().docinfo.doctype:
        raise SourceError("has a document type, which no feed needs", where=url)
    if _name(root) not in ("rss", "RDF", "feed", "urlset", "sitemapindex"):
        raise SourceError(f"is no feed and no sitemap but <{_name(root)[:50]}>", where=url)
    return root


def _name(element: Any) -> str:
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def _child(element: Any, name: str) -> Any:
    return next((child for child in element if _name(child) == name), None)


def _plain(element: Any) -> str:
    return "".join(element.itertext()).strip()


def _link(element: Any) -> str:
    """An entry's address: `loc` of a sitemap, an Atom link to the page, RSS' text, or a guid that is an address."""
    location = _child(element, "loc")
    if location is not None:
        return _plain(location)
    for link in (child for child in element if _name(child) == "link"):
        if link.get("href") and link.get("rel", "alternate") == "alternate":
            return str(link.get("href")).strip()
        if _plain(link):
            return _plain(link)
    guid = _child(element, "guid")
    return _plain(guid) if guid is not None and _plain(guid).startswith("http") else ""


def _text(element: Any) -> tuple[str, str]:
    """The fullest text of an entry: content before summary."""
    from lxml import etree

    for name in ("encoded", "content", "description", "summary"):
        found = _child(element, name)
        if found is None:
            continue
        if found.get("type") == "xhtml":
            return "".join(etree.tostring(child, encoding="unicode") for child in found), "html"
        if _plain(found):
            return _plain(found), "text" if found.get("type") == "text" else "html"
    return "", "text"
