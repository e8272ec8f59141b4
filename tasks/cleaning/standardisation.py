"""One form for every text: repaired encoding, NFC, plain punctuation and spaces, nothing invisible.

``standardise(standardise(x)) == standardise(x)`` for every text; the rules and the hashes of later steps rely
on it.
"""

from __future__ import annotations

import html
import re
import unicodedata
from html.entities import html5
from itertools import chain

MAX_ROUNDS = 16


class UnstableTextError(ValueError):
    """A text that changes every time it is standardised; nested escapes made on purpose do that."""


def standardise(text: str) -> str:
    r"""Bring a text into the standard form; paragraphs, line breaks and indentation stay.

    - mojibake is repaired line by line (ftfy) and HTML character references are decoded;
    - Unicode normal form NFC;
    - curly quotes, primes, hyphens and dashes, ellipses and all kinds of spaces become their ASCII forms (an
      en dash one hyphen, an em dash two, as in typewritten books); guillemets stay, French needs them;
    - control, zero-width, bidirectional and other invisible characters are removed;
    - line ends are ``\n``, with no space before them, at most one empty line in a row, none at either end.

    One step can uncover work for another (a zero-width space inside a character reference), so the steps are
    repeated until nothing changes; ordinary text takes two rounds.

    Raises:
        UnstableTextError: still changing after 16 rounds.
    """
    for _ in range(MAX_ROUNDS):
        result = _once(text)
        if result == text:
            return result
        text = result
    raise UnstableTextError(f"still changes after {MAX_ROUNDS} rounds of standardisation")


def _once(text: str) -> str:
    if not text.isascii():
        text = "\n".join(_repair(line) for line in text.split("\n"))
    text = _REFERENCE.sub(_decode, text) if "&" in text else text
    # Removing an invisible character can bring a letter and its accent together: translate before NFC, and
    # again after it, because NFC itself yields characters of the table (U+037E becomes a semicolon, U+2000 an
    # en quad).
    text = text.translate(_TABLE)
    if not text.isascii():
        text = unicodedata.normalize("NFC", text).translate(_TABLE)
    return _tidy_lines(text)


def _repair(line: str) -> str:
    if line.isascii():
        return line
    import ftfy

    fixed: str = ftfy.fix_encoding(line)
    return fixed


# `&amp;quot;`: all the escapes of one ampersand are taken in one match, or a text of n nested escapes would
# need n passes. The semicolon is required: `&copy` in an address is no reference.
_AMPERSAND = r"(?:amp|AMP|#0{0,5}38|#[xX]0{0,5}26);"
_REFERENCE = re.compile(
    rf"&(?:{_AMPERSAND})*(#[0-9]{{1,7}}|#[xX][0-9a-fA-F]{{1,6}}|[A-Za-z][A-Za-z0-9]{{1,31}});"
)


def _decode(match: re.Match[str]) -> str:
    name = match.group(1)
    if name.startswith("#"):
        return html.unescape(f"&{name};")
    return html5.get(f"{name};", match.group(0))


_INNER_SPACES = re.compile(r"(?<=[^ \n]) {2,}")
_EMPTY_LINES = re.compile(r"\n{3,}")


def _tidy_lines(text: str) -> str:
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = _INNER_SPACES.sub(" ", text)
    text = "\n".join(line.rstrip(" ") for line in text.split("\n"))
    return _EMPTY_LINES.sub("\n\n", text).strip("\n ")


def _table() -> dict[int, str]:
    """What each character becomes; characters that are not in the table stay as they are."""
    table = dict(_CATEGORIES)
    table.update({ord(c): new for new, characters in _PUNCTUATION.items() for c in characters})
    return table


_PUNCTUATION = {
    "'": "\u2018\u2019\u201a\u201b\u2032\u02bc\u00b4",
    '"': "\u201c\u201d\u201e\u201f\u2033\u3003",
    "-": "\u2010\u2011\u2012\u2013\u2212\ufe63\uff0d",
    "--": "\u2014\u2015",
    "...": "\u2026",
    "\n": "\x0b\x0c\x85\u2028\u2029",
    "    ": "\t",
}
# Invisible though their category does not say so: Hangul fillers and the combining grapheme joiner.
_INVISIBLE = "\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0"


def _category_table() -> dict[int, str]:
    table = {ord(c): "" for c in _INVISIBLE}
    # Planes 3 to 13 hold ideographs or nothing, 15 and 16 private use; looking at them would double the
    # import time.
    for code in chain(range(0x30000), range(0xE0000, 0xE1000)):
        category = unicodedata.category(chr(code))
        if category == "Zs":
            table[code] = " "
        elif category in {"Cc", "Cf", "Cs"} and chr(code) not in "\n\r":
            table[code] = ""
    return table


_CATEGORIES = _category_table()
_TABLE = _table()
