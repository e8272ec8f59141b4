"""Telephone numbers: digits in groups as people write them, told from dates, sums and codes.

There is no checksum. So what only a telephone number looks like (``+44 ...``, ``(020) ...``, ``555-010-9999``) is
taken wherever it stands, and what could be another number only after a word that announces it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_FEWEST, _MOST = 7, 15  # digits; ITU-T E.164 allows fifteen
_REACH = 48  # characters before a number in which a word may announce it
# Groups of digits with at most two separating characters between them, perhaps with an extension.
_CANDIDATE = re.compile(
    r"(?:(?<![\w@])\+|(?<![\w.,:/@#$€£%+-])(?<!\d ))\(?\d{1,11}\)?(?:(?:[ .-]|\)?[ -]?\(|\)[ -]?|/)\d{1,8}\)?){0,6}"
    r"(?: ?(?:x|ext\.?) ?\d{1,6})?(?![\w%€£$]|[.,:/-]\d)"
)
_CUE = re.compile(
    r"(?<![a-z[])(?:phones?|telephone|tel|call(?:s|ed|ing)?|mobile|cell|fax|whatsapp|sms|texts?|texted|dial|ring|rang"
    r"|hotline|reach(?:ed)?|contact|answer(?:s|ed|ing)?|messages?|my number|your number|registered)(?![a-z])",
    re.IGNORECASE,
)
_STRONG = re.compile(
    r"\+\d[\d ().-]{6,}"  # international
    r"|\(0?\d{2,4}\) ?\d{3,4}[ -]?\d{3,4}"  # area code in brackets
    r"|\d{3}([-. ])\d{3}\1\d{4}|1([-. ])\d{3}\2\d{3}\2\d{4}"  # North America
    r"|0{1,2}[1-9]\d{0,3}(?:([ .-])\d{2,4})(?:\3\d{2,4}){1,3}"  # trunk prefix and groups
    r"|0{1,2}[1-9]\d{1,4}[ -]\d{5,8}"  # trunk prefix and the rest in one
)
_EXTENSION = re.compile(r" ?(?:x|ext\.?) ?\d{1,6}$")
_DATE = re.compile(
    r"(?:1\d|20)\d\d([-./ ])\d{1,2}\1\d{1,2}|\d{1,2}([-./ ])\d{1,2}\2(?:1\d|20)?\d\d"
    r"|(?:1\d|20)\d\d[-/ ](?:1\d|20)\d\d"
)


def phones(text: str) -> Iterator[tuple[int, int]]:
    """Where the telephone numbers of a text stand."""
    for match in _CANDIDATE.finditer(text):
        found = match[0]
        if found.endswith(")") and found.count(")") > found.count("("):
            found = found[:-1]  # the bracket is the sentence's
        number = _EXTENSION.sub("", found)
        if not _FEWEST <= sum(map(str.isdigit, number)) <= _MOST or _DATE.fullmatch(number.strip("()")):
            continue
        if _STRONG.fullmatch(number) or _announced(text, match.start()):
            yield match.start(), match.start() + len(found)


def _announced(text: str, start: int) -> bool:
    """Whether a word of the same line announces a number, or of the line before where the number begins one."""
    *_, former, line = ["", *text[max(0, start - _REACH) : start].split("\n")]
    return bool(_CUE.search(line if line.strip() else former))
