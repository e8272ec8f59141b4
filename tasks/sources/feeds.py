"""Documents that a feed or a sitemap points to: RSS, Atom, sitemaps and their indexes, politely fetched."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit
from urllib.robotparser import RobotFileParser

from tasks.artifacts import sha256_of
from tasks.errors import SourceError, UnknownError
from tasks.sources import downloads, web
from tasks.sources.addresses import problem
from tasks.sources.config import FeedSource
from tasks.sources.downloads import Wanted
from tasks.sources.feed_entries import Entry, entries_of, nested_of
from tasks.sources.outcomes import Bad, Kept, LeftOut, Outcome, Outcomes, Place, unusable
from tasks.sources.warc_pages import PageError, decoded

_LOG = logging.getLogger(__name__)
_MOST_NESTED = 1_000
_ROBOTS_BYTES = 512 << 10  # as RFC 9309 asks of crawlers, at least 500 KiB


class Found(NamedTuple):
    """An entry, and its page where it was wanted and could be had; else why not."""

    entry: Entry
    page: Path | None
    problem: LeftOut | Bad | None


def digests(source: FeedSource, fetch: bool = True) -> dict[str, str]:
    """The sha256 of every page, or of every entry's own text; pages that could not be had tell why.

    Args:
        source: the feed.
        fetch: whether anything may be fetched; else the walk goes through what the last run fetched.

    Raises:
        SourceError: the feed itself cannot be had or read.
        UnknownError: ``fetch`` is not set, and a run would ask for a page.
    """
    if source.refresh and not fetch:
        raise UnknownError(f"{source.url} would be crawled anew (`refresh`), and cannot be told without")
    crawl = _Crawl(source, ask=True, have=downloads.fetch if fetch else _kept)
    found: dict[str, str] = {}
    for number, each in enumerate(crawl.found(), 1):
        told = each.problem.reason if each.problem else "its own text"
        found[f"{each.entry.link}#{number}"] = sha256_of(each.page) if each.page else told
    for url, path in crawl.feeds.items():
        found[url] = sha256_of(path)
    return found


def read(source: FeedSource, max_bytes: int) -> Outcomes:
    """Every entry of a feed as a document, or the reason why it is none.

    Raises:
        SourceError: the feed itself cannot be had or read.
    """
    for each in _Crawl(source, ask=False).found():
        yield each.problem or _document(each, max_bytes)


def _kept(wanted: Wanted, _ask: bool) -> Path:
    return downloads.kept(wanted)


def _document(found: Found, max_bytes: int) -> Outcome:
    entry, place = found.entry, Place(found.entry.link, found.entry.link)
    text, shape = entry.text, entry.format
    if found.page is not None:
        raw = found.page.read_bytes()
        place.raw = raw[:4096]
        try:
            text, shape = decoded(raw, "", "html"), "html"
        except PageError as error:
            return place.bad(error.rule, str(error), error.value)
    wrong = unusable(text, max_bytes)
    return place.bad(*wrong) if wrong else Kept(entry.link, {"text": text, "format": shape})


class _Crawl:
    """One walk through a feed, its nested sitemaps and, where they are wanted, the pages."""

    def __init__(
        self, source: FeedSource, ask: bool, have: Callable[[Wanted, bool], Path] = downloads.fetch
    ) -> None:
        self._source, self._ask, self._have = source, ask, have
        self._last: dict[str, float] = {}
        self.feeds: dict[str, Path] = {}
        self._robots = cache(self._read_robots)

    def found(self) -> Iterator[Found]:
        """Entries in the feed's order, each address once."""
        seen: set[str] = set()
        for entry in self._entries():
            if len(seen) == self._source.limit:
                return
            if entry.link in seen:
                continue
            seen.add(entry.link)
            yield self._one(entry)

    def _entries(self) -> Iterator[Entry]:
        waiting, known = [self._source.url], {self._source.url}
        while waiting:
            url = waiting.pop(0)
            path = self.feeds[url] = self._fetch(url, self._source.max_bytes, once=False)
            yield from entries_of(path, url)
            for nested in nested_of(path, url):
                if nested not in known and len(known) < _MOST_NESTED and self._same_host(nested):
                    known.add(nested)
                    waiting.append(nested)

    def _one(self, entry: Entry) -> Found:
        if self._source.content == "embedded":
            return Found(entry, None, None if entry.text else LeftOut("no text of its own"))
        if problem(entry.link):
            return Found(
                entry, None, Bad(entry.link, entry.link, "address", f"the address {problem(entry.link)}")
            )
        if not self._same_host(entry.link):
            return Found(entry, None, LeftOut("page of another host"))
        if not self._robots(_origin(entry.link)).can_fetch(web.AGENT, entry.link):
            return Found(entry, None, LeftOut("robots.txt asks not to"))
        try:
            return Found(entry, self._fetch(entry.link, self._source.max_bytes), None)
        except SourceError as error:
            return Found(entry, None, Bad(entry.link, entry.link, "http", error.problem))

    def _fetch(self, url: str, most: int, once: bool = True) -> Path:
        wanted = Wanted(
            url,
            refresh=self._source.refresh,
            allow_private=self._source.allow_private,
            max_bytes=most,
            stall=self._source.stall,
            once=once,
        )
        if self._have is downloads.fetch and (self._source.refresh or not downloads.known(url)):
            self._wait(urlsplit(url).netloc)
        return self._have(wanted, self._ask)

    def _wait(self, host: str) -> None:
        """Leave the host alone between two questions."""
        pause = self._last.get(host, 0.0) + self._source.delay - time.monotonic()
        if pause > 0 and host in self._last:
            time.sleep(pause)
        self._last[host] = time.monotonic()

    def _same_host(self, url: str) -> bool:
        return not self._source.same_host or urlsplit(url).netloc == urlsplit(self._source.url).netloc

    def _read_robots(self, origin: str) -> RobotFileParser:
        """The rules of a site; none where it has none, as RFC 9309 has it."""
        rules = RobotFileParser()
        try:
            path = self._fetch(urljoin(origin, "/robots.txt"), _ROBOTS_BYTES)
        except SourceError as error:
            _LOG.info("%s has no robots.txt that could be read (%s)", origin, error.problem)
            rules.parse([])
            return rules
        rules.parse(path.read_text(encoding="utf-8", errors="replace").splitlines())
        return rules


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
