"""The one door through which text of the data or of a model enters the report.

Such text may hold markup, scripts, links, formulas, terminal escapes or characters that reverse the direction
of writing. What `safe` returns is one line that every Markdown renderer shows as plain text, letter for
letter, in any place but the very beginning of a line, where "1." or "-" makes a list: the report never puts
it there.
"""

from __future__ import annotations

import re
import unicodedata

LONGEST = 2_000
_ELLIPSIS = "…"
# Entities for what HTML, tables and formulas read as markup; backslashes for what only Markdown does.
_ENTITIES = {character: f"&#{ord(character)};" for character in "&<>\"'|{}$^="}
_ESCAPES = {character: f"\\{character}" for character in "\\`*_[]#!~:@"} | _ENTITIES
_ADDRESS = re.compile(r"(www)\.", re.IGNORECASE)


def safe(text: str, limit: int = LONGEST) -> str:
    """Text as it reads, on one line: cut, invisible characters shown as U+XXXX, markup made harmless."""
    escaped = "".join(_ESCAPES.get(character, character) for character in visible(cut(text, limit)))
    return _ADDRESS.sub(r"\1\\.", escaped)


def safe_lines(text: str, limit: int = LONGEST, lines: int = 20) -> str:
    """Like `safe`, but a line break of the text is one of the report's, up to ``lines`` lines."""
    parts = cut(text, limit).replace("\r\n", "\n").split("\n")
    shown = [safe(part) for part in parts[:lines]]
    return "<br>".join(shown + [_ELLIPSIS] * (len(parts) > lines))


def cut(text: str, limit: int) -> str:
    """At most ``limit`` characters, the last one an ellipsis where something is missing."""
    return text if len(text) <= limit else text[: limit - 1] + _ELLIPSIS


def visible(text: str) -> str:
    """Control, format (also bidirectional), unassigned and unusual space characters as U+XXXX."""
    return "".join(
        f"U+{ord(character):04X}"
        if unicodedata.category(character)[0] in "CZ" and character != " "
        else character
        for character in text
    )
