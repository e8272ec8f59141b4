"""One line of the report's Markdown as HTML, by the few marks the report writes itself.

Whatever is not one of them is a letter and is escaped: a mark that data brought along reaches this place with a
backslash before it or as an entity (`safe_text.safe`), and comes out as the letter it is.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markupsafe import Markup

_TOKEN = re.compile(r"\\(?P<letter>[!-/:-@\[-`{-~])|&#(?P<code>\d{2,3});|(?P<mark>\*\*|\*|<br>)")
_ELEMENTS = {"**": "strong", "*": "em"}


def to_html(line: str) -> Markup:
    """A line of running text; bold, italic and line breaks are all the markup that can come out."""
    from markupsafe import Markup, escape

    parts: list[str] = []
    opened: list[str] = []
    end = 0
    for token in _TOKEN.finditer(line):
        parts.append(escape(line[end : token.start()]))
        parts.append(_mark(token["mark"], opened) if token["mark"] else escape(_letter(token)))
        end = token.end()
    parts.append(escape(line[end:]))
    parts += [f"</{element}>" for element in reversed(opened)]
    return Markup("".join(parts))  # noqa: S704 - every part is escaped or one of our own tags


def _letter(token: re.Match[str]) -> str:
    return token["letter"] or chr(int(token["code"]))


def _mark(mark: str, opened: list[str]) -> str:
    if mark == "<br>":
        return "<br>"
    element = _ELEMENTS[mark]
    if opened and opened[-1] == element:
        opened.pop()
        return f"</{element}>"
    if element in opened:
        return ""
    opened.append(element)
    return f"<{element}>"
