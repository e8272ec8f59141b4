"""How well the text of web pages is found: `python -m benchmarks.extraction [PAGES]`.

Real pages, SQLAlchemy's documentation (MIT, from its source distribution, fetched through the user's own pip) and the
help that CPython ships with IDLE. What their authors marked as the body of a page is the reference; words are counted
as they stand, so that precision falls with every word of navigation and recall with every word lost. The plain call of
trafilatura, with tables and without, and all text of the page stand beside ours. Then hostile pages, one by one, with
their time and what becomes of the rest.
"""

from __future__ import annotations

import idlelib
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tasks.cleaning.config import ExtractionConfig
from tasks.cleaning.extraction import from_html
from tasks.cleaning.pool import Failure, Pool, Prepared
from tasks.cleaning.shingles import words
from tasks.evaluation.bootstrap import interval
from tasks.sources import catalogue
from tasks.sources.archives import members
from tasks.sources.config import PackageSource
from tasks.sources.packages import fetch

_SAMPLES = 2000
_BODY = './/*[@itemprop="articleBody"]|.//div[@role="main"]'
Extract = Callable[[str], str]


def main() -> None:
    """Print quality and speed on the real pages, and what becomes of the hostile ones."""
    limit = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    corpora = {
        f"SQLAlchemy, {limit} pages": sqlalchemy(limit),
        "IDLE's help, 1 page": [Path(idlelib.__file__).with_name("help.html").read_text(encoding="utf-8")],
    }
    print("| pages | how | precision | recall | F1 | ms a page |")
    print("|---|---|---|---|---|---|")
    for name, pages in corpora.items():
        for how, extract in _WAYS.items():
            print(f"| {name} | {how} | {_row(pages, extract)} |", flush=True)
    _hostile()


def sqlalchemy(limit: int) -> list[str]:
    """Pages of the documentation, chosen evenly by a hash of their names."""
    source = PackageSource(
        **catalogue.SQLALCHEMY, reader="html", members=catalogue.SQLALCHEMY_PAGES, domain="web", licence="MIT"
    )
    return [data.decode() for _, data in members(fetch(source), source.members, limit)]


def reference(page: str) -> list[str]:
    """The words of what a page's author marked as its body, links to headings left out."""
    body = _tree(page).xpath(_BODY)[0]
    for element in body.xpath('.//script|.//style|.//a[@class="headerlink"]'):
        element.drop_tree()
    return words(" ".join(body.itertext()))


def _row(pages: Sequence[str], extract: Extract) -> str:
    found = []
    for page in pages:
        started = time.perf_counter()
        got = words(extract(page))
        seconds = time.perf_counter() - started
        wanted = reference(page)
        found.append(((Counter(got) & Counter(wanted)).total(), len(got), len(wanted), seconds))
    hits, got_words, wanted_words, _ = np.array(found).T
    generator = np.random.default_rng(0)
    drawn = generator.integers(len(found), size=(_SAMPLES, len(found)))
    cells = []
    for over in ((got_words,), (wanted_words,), (got_words, wanted_words)):
        value = len(over) * hits.sum() / max(1, sum(part.sum() for part in over))
        again = (
            len(over) * hits[drawn].sum(axis=1) / np.maximum(1, sum(part[drawn].sum(axis=1) for part in over))
        )
        low, high = interval(again)
        cells.append(f"{value:.3f} [{low:.3f}, {high:.3f}]" if len(found) > 1 else f"{value:.3f}")
    return " | ".join([*cells, f"{1000 * statistics.median(row[3] for row in found):.0f}"])


def _plain(page: str) -> str:
    from trafilatura import extract

    return extract(page) or ""


def _without_tables(page: str) -> str:
    from trafilatura import extract

    return extract(page, include_comments=False, include_tables=False) or ""


def _everything(page: str) -> str:
    tree = _tree(page)
    for element in tree.xpath("//script|//style"):
        element.drop_tree()
    return " ".join(tree.itertext())


def _tree(page: str) -> Any:
    from lxml import html  # type: ignore[import-untyped]

    return html.fromstring(page)


_WAYS: dict[str, Extract] = {
    "ours": from_html,
    "trafilatura, plain call": _plain,
    "trafilatura without tables and comments": _without_tables,
    "all text of the page": _everything,
}
_HOSTILE: dict[str, Callable[[], str]] = {
    "100,000 nested divs": lambda: "<html><body>" + "<div>" * 100_000 + "x",
    "200,000 unclosed dl and dd": lambda: "<html><body>" + "<dl><dd>" * 100_000 + "x",
    "a colspan of 9007199254740991": lambda: '<html><table><tr><td colspan="9007199254740991">x</table>',
    "an attribute of 20 MB": lambda: f'<html><body><p title="{"x" * (20 << 20)}">x</p>',
    "2,000,000 entities": lambda: "<html><body><p>" + "&amp;" * 2_000_000,
    "1,000,000 paragraphs": lambda: "<html><body>" + "<p>x</p>" * 1_000_000,
    "entities of a document type": lambda: (
        '<!DOCTYPE html [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><html><p>&b;'
    ),
    "NUL and bad characters": lambda: "<html><body><p>a\x00b\ufffd\udc80".encode("utf-8", "replace").decode(),
    "nothing": lambda: "",
}


def _hostile() -> None:
    """Each page twice: alone with its time, and among good pages, which must all come through."""
    good = {
        "text": f"<html><body><article><p>{'A sentence of an article. ' * 20}</p></article>",
        "format": "html",
    }
    config = ExtractionConfig(timeout=2.0)
    print("\n| hostile page | outcome | seconds, limit 2 | good pages that came through beside it |")
    print("|---|---|---|---|")
    for name, make in _HOSTILE.items():
        page = {"text": make(), "format": "html"}
        with Pool(config, workers=1) as pool:
            list(pool.prepare([good]))
            started = time.monotonic()
            ((_, outcome),) = pool.prepare([page])
            seconds = time.monotonic() - started
            others = [each for _, each in pool.prepare([good, page, good, good])]
        came = sum(not isinstance(each, Failure) for number, each in enumerate(others) if number != 1)
        told = (
            f"{outcome.kind}: {outcome.reason}"
            if isinstance(outcome, Failure)
            else f"{len(outcome.text)} characters"
        )
        print(f"| {name} | {told} | {seconds:.1f} | {came} of 3 |", flush=True)


def _told(outcome: Prepared | Failure) -> str:
    if isinstance(outcome, Failure):
        return f"{outcome.kind}: {outcome.reason}"
    return f"{len(outcome.text)} characters"


if __name__ == "__main__":
    main()
