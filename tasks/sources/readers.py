"""Documents out of the packages that ship real text; which ones, and their licences, is in catalogue.py."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tasks.errors import SourceError
from tasks.sources.archives import bunzip2, gunzip, inner_tar, members
from tasks.sources.config import PackageSource
from tasks.sources.config_base import AnyPackage
from tasks.sources.outcomes import Bad, Kept, LeftOut, Outcomes, Place, unusable

_FOOTNOTE = re.compile(r"\{[^{}]*\}")
_SPACES = re.compile(r" {2,}")
_VADER = "*/hutto_ICWSM_2014.tar.gz"


def documents(source: PackageSource, path: Path, max_bytes: int) -> Outcomes:
    """Documents of one package file, in the order of its members' names.

    Raises:
        SourceError: the file does not have what the reader looks for.
    """
    for outcome in _READERS[source.reader](source, path):
        if not isinstance(outcome, Kept):
            yield outcome
            continue
        if not _is_taken(outcome.uri, source.share):
            yield LeftOut("not in the share taken")
            continue
        problem = unusable(outcome.values["text"], max_bytes)
        yield Place(outcome.uri, outcome.uri).bad(*problem) if problem else outcome


def _is_taken(uri: str, share: float) -> bool:
    """The same documents in every run, and more of them, never others, when the share grows."""
    return int.from_bytes(hashlib.sha256(uri.encode()).digest()[:8], "big") < share * 2**64


def uri_of(source: AnyPackage, member: str, part: object = "") -> str:
    """``package:NAME==VERSION/MEMBER#PART``."""
    return f"package:{source.pinned}/{member}" + (f"#{part}" if part != "" else "")


def decoded(source: AnyPackage, member: str, data: bytes) -> str | Bad:
    """A member as text, or the reason why it is none."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        uri = uri_of(source, member)
        return Place(uri, uri, data[:4096]).bad(
            "encoding", f"not valid UTF-8 at byte {error.start}: {error.reason}"
        )


def json_rows(
    source: AnyPackage, path: Path, patterns: tuple[str, ...]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows of JSON lines in a package, each with its uri."""
    for member, data in members(path, source.members or patterns):
        for number, line in enumerate(data.splitlines(), 1):
            if line.strip():
                yield uri_of(source, member, f"L{number}"), json.loads(line)


def vader_rows(source: AnyPackage, path: Path, patterns: tuple[str, ...]) -> Iterator[tuple[str, float, str]]:
    """Rated snippets: uri, mean rating (-4 to 4, twenty human raters) and text.

    The files are tab-separated without quoting, in a tar inside the source distribution.
    """
    for outer, packed in members(path, (_VADER,)):
        for member, data in inner_tar(outer, packed, source.members or patterns):
            for number, line in enumerate(data.decode("utf-8").split("\n"), 1):
                if line.strip():
                    _, rating, text = line.rstrip("\r").split("\t")
                    yield uri_of(source, f"{outer}/{member}", f"L{number}"), float(rating), text


def _plain(kind: str) -> Callable[[PackageSource, Path], Outcomes]:
    def read(source: PackageSource, path: Path) -> Outcomes:
        if not source.members:
            raise SourceError(f"reader {kind!r} needs `members`", where=source.title)
        for member, data in members(path, source.members, source.limit):
            text = decoded(source, member, data)
            yield (
                text
                if isinstance(text, Bad)
                else Kept(uri_of(source, member), {"text": text, "format": kind})
            )

    return read


def _bible(source: PackageSource, path: Path) -> Outcomes:
    """The World English Bible: a document per book, a paragraph per chapter, without the footnotes."""
    found = dict(members(path, ("*/data/web/t_web.csv.gz", "*/data/web/key_english.csv.gz")))
    tables = {name.rsplit("/", 1)[-1]: _table(name, data) for name, data in found.items()}
    titles = {row[0]: row[1] for row in tables["key_english.csv.gz"]}
    chapters: dict[str, dict[str, list[str]]] = {}
    for _, book, chapter, _, verse in tables["t_web.csv.gz"]:
        chapters.setdefault(book, {}).setdefault(chapter, []).append(
            _SPACES.sub(" ", _FOOTNOTE.sub("", verse)).strip()
        )
    member = next(name for name in found if name.endswith("t_web.csv.gz"))
    for book, verses in chapters.items():
        text = "\n\n".join(" ".join(filter(None, lines)) for lines in verses.values())
        yield Kept(uri_of(source, member, titles[book]), {"text": text, "format": "text"})


def _table(name: str, data: bytes) -> list[list[str]]:
    rows = csv.reader(io.StringIO(gunzip(name, data).decode("utf-8"), newline=""), strict=True)
    return list(rows)[1:]


def _wikipedia(source: PackageSource, path: Path) -> Outcomes:
    """Articles of a MediaWiki export, as wikitext; redirects and pages that are no articles are left out."""
    for member, packed in members(path, source.members or ("*/enwiki-latest-pages-articles1.xml-*.bz2",)):
        export = bunzip2(member, packed)
        if b"<!DOCTYPE" in export[:4096] or b"<!ENTITY" in export:
            raise SourceError(
                "declares entities, which an export has no use for", where=uri_of(source, member)
            )
        # Safe without defusedxml: the two checks above leave expat no entity to expand.
        for _, page in ElementTree.iterparse(io.BytesIO(export), events=("end",)):  # noqa: S314
            if page.tag.rpartition("}")[2] != "page":
                continue
            yield _article(source, member, page)
            page.clear()


def _article(source: PackageSource, member: str, page: ElementTree.Element) -> Kept | LeftOut:
    if page.find("{*}redirect") is not None:
        return LeftOut("redirect")
    if page.findtext("{*}ns") != "0":
        return LeftOut("not an article")
    title = page.findtext("{*}title") or ""
    text = page.findtext("{*}revision/{*}text") or ""
    return Kept(uri_of(source, member, title), {"text": text, "format": "wikitext"})


def _boolq(source: PackageSource, path: Path) -> Outcomes:
    """The Wikipedia passages under BoolQ's questions, each once."""
    seen: set[str] = set()
    for uri, row in json_rows(source, path, ("*/BoolQ/combined.jsonl",)):
        if row["passage"] in seen:
            yield LeftOut("passage of an earlier question")
            continue
        seen.add(row["passage"])
        yield Kept(uri, {"text": row["passage"], "format": "text"})


def _tweets(source: PackageSource, path: Path) -> Outcomes:
    """The tweets that VADER was rated on."""
    for uri, _, text in vader_rows(source, path, ("*/tweets_GroundTruth.txt",)):
        yield Kept(uri, {"text": text, "format": "text"})


_READERS: dict[str, Callable[[PackageSource, Path], Outcomes]] = {
    "text": _plain("text"),
    "html": _plain("html"),
    "wikipedia": _wikipedia,
    "bible": _bible,
    "boolq": _boolq,
    "tweets": _tweets,
}
