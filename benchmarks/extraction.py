"""How well the text of web pages is found: `python -m benchmarks.extraction [PAGES]`.

Real pages: SQLAlchemy's documentation (MIT) and the half of pygame-ce's (LGPL) that nobody looked at while
`tasks.cleaning.markup` was written, fetched through the user's own pip, and the help that CPython ships with IDLE.
What their authors marked as the body of a page is the reference; words are counted as they stand, so that precision
falls with every word of navigation and recall with every word lost. Lines of code are those in ``pre`` that come out
as lines of their own. The plain call of trafilatura, with tables and without, and all text of the page stand beside
ours. Times are processor seconds, each way on the same page in turn, as a ratio to the plain call's. Then hostile
pages, one by one, with their time and what becomes of the rest.
"""

from __future__ import annotations

import idlelib
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

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
_NO_WORDS = './/script|.//style|.//a[contains(@class, "headerlink")]'
_PYGAME = PackageSource(
    package="pygame-ce",
    version="2.5.8",
    filename="pygame_ce-2.5.8-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
    sha256="33e1b5a78cd6d25c2c8f00c09cdc0ba8000eec81b53dc7d8d7323d8319691d69",
    reader="html",
    members=("pygame/docs/generated/ref/[m-z]*.html", "pygame/docs/generated/tutorials/*.html"),
    domain="web",
    licence="LGPL-2.1",
)
Extract = Callable[[str], str]


class Found(NamedTuple):
    """What a way found on one page, in words, lines of code and processor seconds."""

    hits: int
    got: int
    wanted: int
    code_hits: int
    code: int
    seconds: float


def main() -> None:
    """Print quality and speed on the real pages, and what becomes of the hostile ones."""
    limit = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    corpora = {
        "SQLAlchemy": sqlalchemy(limit),
        "pygame-ce": [data.decode() for _, data in members(fetch(_PYGAME), _PYGAME.members, limit)],
        "IDLE's help": [Path(idlelib.__file__).with_name("help.html").read_text(encoding="utf-8")],
    }
    print("| pages | how | precision | recall | F1 | lines of code | time |")
    print("|---|---|---|---|---|---|---|")
    for name, pages in corpora.items():
        found = [_compare(page) for page in pages]
        for how in _WAYS:
            ours, plain = [each[how] for each in found], [each[_PLAIN] for each in found]
            cells = f"{_quality(ours)} | {_code(ours)} | {_ratio(ours, plain)}"
            print(f"| {name}, {len(pages)} | {how} | {cells} |", flush=True)
    _hostile()


def sqlalchemy(limit: int) -> list[str]:
    """Pages of the documentation, chosen evenly by a hash of their names."""
    source = PackageSource(
        **catalogue.SQLALCHEMY, reader="html", members=catalogue.SQLALCHEMY_PAGES, domain="web", licence="MIT"
    )
    return [data.decode() for _, data in members(fetch(source), source.members, limit)]


def reference(page: str) -> tuple[list[str], list[str]]:
    """Words and lines of code in what a page's author marked as its body, links to headings left out."""
    body = _tree(page).xpath(_BODY)[0]
    for element in body.xpath(_NO_WORDS):
        element.drop_tree()
    code = "\n".join(block.text_content() for block in body.iter("pre"))
    return words(" ".join(body.itertext())), _lines(code)


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.split("\n") if line.strip()]


def _compare(page: str) -> dict[str, Found]:
    wanted, code = reference(page)
    found = {}
    for how, extract in _WAYS.items():
        started = time.process_time()
        text = extract(page)
        seconds = time.process_time() - started
        got = words(text)
        hits = (Counter(got) & Counter(wanted)).total()
        lines = (Counter(code) & Counter(_lines(text))).total()
        found[how] = Found(hits, len(got), len(wanted), lines, len(code), seconds)
    return found


def _quality(found: Sequence[Found]) -> str:
    """Precision, recall and F1 over all pages, with intervals over pages."""
    hits, got, wanted = np.array(found).T[:3]
    drawn = np.random.default_rng(0).integers(len(found), size=(_SAMPLES, len(found)))
    cells = []
    for over in ((got,), (wanted,), (got, wanted)):
        value = len(over) * hits.sum() / max(1, sum(part.sum() for part in over))
        again = len(over) * hits[drawn].sum(axis=1)
        low, high = interval(again / np.maximum(1, sum(part[drawn].sum(axis=1) for part in over)))
        cells.append(f"{value:.3f} [{low:.3f}, {high:.3f}]" if len(found) > 1 else f"{value:.3f}")
    return " | ".join(cells)


def _code(found: Sequence[Found]) -> str:
    lines = sum(each.code for each in found)
    return f"{sum(each.code_hits for each in found) / max(1, lines):.3f} of {lines:,}"


def _ratio(found: Sequence[Found], plain: Sequence[Found]) -> str:
    return f"{sum(each.seconds for each in found) / sum(each.seconds for each in plain):.2f}"


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


_PLAIN = "trafilatura, plain call"
_WAYS: dict[str, Extract] = {
    "ours": from_html,
    _PLAIN: _plain,
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
        print(f"| {name} | {_told(outcome)} | {seconds:.1f} | {came} of 3 |", flush=True)


def _told(outcome: Prepared | Failure) -> str:
    if isinstance(outcome, Failure):
        return f"{outcome.kind}: {outcome.reason}"
    return f"{len(outcome.text)} characters"


if __name__ == "__main__":
    main()
