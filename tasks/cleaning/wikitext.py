"""Prose of a Wikipedia article in MediaWiki markup, parsed by mwparserfromhell. Runs in a child process."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mwparserfromhell.nodes import Node
    from mwparserfromhell.wikicode import Wikicode

_TAGS_WITHOUT_PROSE = frozenset(
    {
        "ref", "references", "table", "gallery", "math", "chem", "timeline", "imagemap", "score",
        "syntaxhighlight", "source", "code", "pre", "style", "templatestyles", "graph", "mapframe", "hiero",
        "inputbox", "includeonly",
    }
)  # fmt: skip
# Sections that list instead of tell.
_APPENDICES = frozenset(
    {
        "references", "notes", "footnotes", "citations", "sources", "bibliography", "further reading",
        "external links", "see also", "notes and references", "references and notes", "works cited",
        "gallery",
    }
)  # fmt: skip
# `[[File:...]]`, `[[Category:...]]`, and links to other languages such as `[[fr:...]]`.
_NO_PROSE_LINK = re.compile(
    r"\s*(?:file|image|media|category|[a-z]{2,3}|simple|[a-z]{2,3}-[a-z-]+)\s*:\S", re.I
)
_EMPTY_BRACKETS = re.compile(r" ?\((?:[\s,;:]|\bor\b)*\)")
_BRACKET_START = re.compile(r"\((?:\s*[,;])+\s*")
_SPACE_BEFORE = re.compile(r" +(?=[,.;:](?:\s|$))")


def prose(source: str) -> str:
    """Sentences and headings of an article, without templates, references, tables, files and link lists."""
    import mwparserfromhell

    text = "".join(_render(_without_appendices(mwparserfromhell.parse(source))))
    # What a removed template leaves behind: "Autism ( ; from Greek)" and "( )".
    text = _BRACKET_START.sub("(", _EMPTY_BRACKETS.sub("", text))
    return _SPACE_BEFORE.sub("", text)


def _without_appendices(code: Wikicode) -> Iterator[Node]:
    from mwparserfromhell.nodes import Heading

    hidden = 0  # level of the appendix we are in
    for node in code.nodes:
        if isinstance(node, Heading) and (not hidden or node.level <= hidden):
            hidden = node.level if "".join(_render(node.title.nodes)).strip().casefold() in _APPENDICES else 0
        if not hidden:
            yield node


def _render(nodes: Iterator[Node] | list[Node]) -> Iterator[str]:
    from mwparserfromhell.nodes import ExternalLink, Heading, HTMLEntity, Tag, Text, Wikilink

    for node in nodes:
        if isinstance(node, Text):
            yield node.value
        elif isinstance(node, Wikilink):
            yield from _link(node)
        elif isinstance(node, Tag):
            yield from _tag(node)
        elif isinstance(node, Heading):
            yield from _heading(node)
        elif isinstance(node, HTMLEntity):
            yield node.normalize() or ""
        elif isinstance(node, ExternalLink) and node.title is not None:
            yield from _render(node.title.nodes)


def _heading(node: Node) -> Iterator[str]:
    yield "\n"
    yield "".join(_render(node.title.nodes)).strip()
    yield "\n"


def _link(node: Node) -> Iterator[str]:
    if _NO_PROSE_LINK.match(str(node.title)):
        return
    yield from _render((node.text if node.text is not None else node.title).nodes)


def _tag(node: Node) -> Iterator[str]:
    name = str(node.tag).strip().casefold()
    if name == "br":
        yield "\n"
    elif name not in _TAGS_WITHOUT_PROSE and node.contents is not None:
        yield from _render(node.contents.nodes)
