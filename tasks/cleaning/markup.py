"""Puts the markup of a page into the few forms that trafilatura reads well: sections, paragraphs, flat lists, code.

Every step walks the tree a fixed number of times, and climbs at most the 255 levels that the parser allows, so the
time is linear in the page. Runs in the child process, before trafilatura. Why each step: docs/decisions/0014.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

Element = Any  # lxml's elements have no types

_PHRASES = (
    "a abbr acronym b bdi bdo big br cite code data del dfn em font i img ins kbd mark q rb rp rt ruby s samp small"
    " span strike strong sub sup time tt u var wbr"
)
_INLINE = frozenset(_PHRASES.split())
_LISTS = ("ul", "ol")
_CELLS = ("td", "th")
_SILENT = ("script", "style", "noscript", "template")
_SECTION = "section"  # the one container that trafilatura reads through without weighing its links
_NAVIGATION = 0.8  # share of the text in links; that of trafilatura for lists and small tables
_FEW_LINKS = 4  # more are many, also to trafilatura
SEPARATOR = " | "
"""Between the cells of a table's row."""
BULLET = "- "
"""Before an item of a list that is taken apart; trafilatura writes the same before the others."""


def simplify(tree: Element) -> None:
    """Rewrite a page in place; only its arrangement changes, and no word is lost.

    - an element that links to itself is a heading's anchor: the id tells its topic, not its part in the page;
    - a figure around code or a table is a container like any other;
    - lists of definitions become paragraphs, terms and definitions in turn;
    - rows of tables become paragraphs, cells divided by `SEPARATOR`; cells that hold more than a paragraph follow
      one another, as in tables made for layout;
    - items of lists that hold any of these, or code, become paragraphs behind a `BULLET`;
    - in all of those, loose words beside blocks become paragraphs, and links become words.

    Lists, tables and cells that consist of links look like navigation and are left to trafilatura's judgement.
    """
    _forget_own_addresses(tree)
    farms = _farms(tree)
    for figure in list(tree.iter("figure")):
        if next(figure.iter("pre", "table"), None) is not None:
            figure.tag = _SECTION
    items = _open_lists(tree, farms)
    _settle(tree, [*items, *_open_definitions(tree, farms), *_open_tables(tree, farms)], farms)
    for item in items:
        if len(item) and item[0].tag == "p":
            item[0].text = BULLET + (item[0].text or "").lstrip()


def _forget_own_addresses(tree: Element) -> None:
    for link, holder in list(_links_within(tree)):
        if holder is not None:
            holder.attrib.pop("id", None)
            link.tag = "span"
        if not any(map(str.isalnum, "".join(link.itertext()))):
            del link[:]  # a sign to click on, no word
            link.tag, link.text = "span", None


def _links_within(tree: Element) -> Iterator[tuple[Element, Element | None]]:
    """Links to places of the page itself, with the place if the link stands in it."""
    from lxml import etree  # type: ignore[import-untyped]

    around: dict[str | None, Element] = {}  # what the walk is in, by id
    for event, element in etree.iterwalk(tree, events=("start", "end")):
        if event == "end":
            around.pop(element.get("id"), None)
            continue
        if element.get("id"):
            around[element.get("id")] = element
        address = element.get("href", "") if element.tag == "a" else ""
        if len(address) > 1 and address[0] == "#":
            yield element, around.get(address[1:])


def _farms(tree: Element) -> set[Element]:
    """Lists, tables and cells that consist of links."""
    sizes: dict[Element, tuple[int, int]] = {}
    farms = set()
    for element in reversed(list(tree.iter())):  # children before their parents
        size = 0 if element.tag in _SILENT else len(element.text or "")
        linked = 0
        for child in element:
            inner, inner_linked = sizes.pop(child, (0, 0))
            size += inner + len(child.tail or "")
            linked += inner_linked
        if element.tag == "a":
            linked = size
        if linked > _NAVIGATION * size and _may_navigate(element):
            farms.add(element)
        sizes[element] = size, linked
    return farms


def _may_navigate(element: Element) -> bool:
    if element.tag in _CELLS:  # a few links are what a cell of data may hold
        return next(islice(element.iter("a"), _FEW_LINKS, None), None) is not None
    return element.tag in (*_LISTS, "dl", "table")


def _open_lists(tree: Element, farms: set[Element]) -> list[Element]:
    """Take lists with blocks in them apart; returns their items."""
    marked: dict[Element, None] = {}
    for block in tree.iter("pre", "dl", "table"):
        for holder in () if block in farms else block.iterancestors(*_LISTS):
            if holder in marked:
                break  # and so are those around it
            marked[holder] = None
    items = [item for holder in marked for item in holder if item.tag == "li"]
    for element in (*marked, *items):
        element.tag = _SECTION
    return items


def _open_definitions(tree: Element, farms: set[Element]) -> list[Element]:
    """Take lists of definitions apart; returns their terms and definitions."""
    parts = []
    for holder in [each for each in tree.iter("dl") if each not in farms]:
        holder.tag = _SECTION
        for part in _parts(holder, ("dt", "dd")):
            part.tag = "p" if part.tag == "dt" and _is_inline(part) else _SECTION
            parts.append(part)
    return parts


def _open_tables(tree: Element, farms: set[Element]) -> list[Element]:
    """Take tables apart; returns the cells that did not become part of a row's paragraph."""
    opened = []
    for table in [each for each in tree.iter("table") if each not in farms]:
        table.tag = _SECTION
        for part in _parts(table, ("tr", "caption")):
            cells = [cell for cell in part if cell.tag in _CELLS] if part.tag == "tr" else [part]
            if all(map(_is_inline, cells)):
                _join(part, cells)
                continue
            for element in (part, *cells):
                element.tag = _SECTION
            opened += cells
    return opened


def _join(row: Element, cells: list[Element]) -> None:
    """Make one paragraph of a row; empty cells at its end leave no separators."""
    for cell in cells:
        for line_break in cell.iter("br"):
            line_break.tail = f" {line_break.tail or ''}"
    words = [" ".join("".join(cell.itertext()).split()) for cell in cells]
    while words and not words[-1]:
        words.pop()
    del row[:]
    row.tag, row.text = "p", SEPARATOR.join(words)


def _parts(holder: Element, tags: tuple[str, ...]) -> list[Element]:
    """The parts of a table or of a list of definitions, in it or in a group in it."""
    grouped: Iterator[Element] = (
        inner for child in holder for inner in (child if child.tag not in tags else (child,))
    )
    return [part for part in grouped if part.tag in tags]


def _is_inline(element: Element) -> bool:
    """Whether an element holds one paragraph: no more than words and their emphasis, all of them visible."""
    paragraph = (
        len(element) == 1 and element[0].tag == "p" and not (element.text or element[0].tail or "").strip()
    )
    inner = element[0] if paragraph else element
    return all(
        child is inner or (child.tag in _INLINE and "none" not in child.get("style", ""))
        for child in inner.iter()
    )


def _settle(tree: Element, opened: list[Element], farms: set[Element]) -> None:
    """Make words of links and paragraphs of loose words in what was taken apart.

    trafilatura takes short paragraphs of links for navigation and passes over loose words, but not in items of
    lists and cells of tables; and these were such.
    """
    inside = dict.fromkeys(each for each in opened if each not in farms)
    for element in tree.iter():
        if element not in farms and element.getparent() in inside:
            inside[element] = None
    for element in inside:
        if element.tag == "a":
            element.tag = "span"
    for element in (*inside, *filter(farms.__contains__, opened)):
        if element.tag in (_SECTION, "div"):
            _wrap_runs(element)


def _wrap_runs(element: Element) -> None:
    """Make paragraphs of the words that stand beside blocks."""
    run = _paragraph(element, element.text)
    if run is not None:
        element.insert(0, run)
    element.text = None
    for child in list(element)[run is not None :]:
        if child.tag in _INLINE:
            if run is None:
                run = element.makeelement("p")
                child.addprevious(run)
            run.append(child)
            continue
        run = _paragraph(element, child.tail)
        child.tail = None
        if run is not None:
            child.addnext(run)


def _paragraph(element: Element, text: str | None) -> Element | None:
    if not text or not text.strip():
        return None
    paragraph = element.makeelement("p")
    paragraph.text = text
    return paragraph
