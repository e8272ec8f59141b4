"""Telephone numbers: digits in groups as people write them, told from dates, sums and codes.

There is no checksum. So what only a telephone number looks like (``+44 ...``, ``(020) ...``, ``555-010-9999``) is
taken wherever it stands, and what could be another number only beside a word that announces it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tasks.cleaning.phone_words import announced, is_book, is_date, no_telephone

_FEWEST, _MOST = 7, 15  # digits; ITU-T E.164 allows fifteen
# A run of groups of digits, with at most three separating characters between two of them.
_RUN = re.compile(
    r"(?:(?<![\w@])\+|(?<![\w.,:/@#$€£%+-]))\(?\d{1,19}\)?"
    r"(?:(?: \+|[ .-]|\)?[ -]?\(|\)[ -]?| ?/ ?| ?(?:x|ext\.?) ?)\d{1,15}\)?){0,40}(?![\w%€£$]|[.,:/-]\d)"
)
# What is a number of its own among others; spaces alone would make one of any row of a table.
_TWO_YEARS = r"(?:1[5-9]|20)\d\d[ -](?:1[5-9]|20)\d\d(?!\d)"
_SURE = (
    r"\+\d[\d ().-]{6,24}?"  # international
    r"|\(0?\d{2,4}\)[ -]?\d{3,4}[ .-]?\d{3,4}|\(0\d{1,4}\)[ -]?\d{2,8}(?:[ -]\d{2,4}){0,3}"
    rf"|\([1-9]\) ?(?!{_TWO_YEARS})\d{{3,4}}[ -]\d{{4}}|\([1-9]{{2}}\) ?9\d{{4}}-\d{{4}}"  # Chile, Hungary; Brazil
    r"|(?:8[ -]?)?(?:\([34789]\d\d\) ?\d{3}|\([34789]\d{3}\) ?\d\d|\([34789]\d{4}\) ?\d)[ -]\d\d[ -]\d\d"  # Russia
    r"|8 0\d{2,4} \d{2,3}-\d\d-\d\d"  # Belarus
    r"|\d{3}([-.])\d{3}\1\d{4}|1([-.])\d{3}\2\d{3}\2\d{4}"  # North America
    r"|0[1-9]\d{1,4}[/-]\d{5,8}"  # trunk prefix and the rest in one
    r"|0[1-9]\d{0,3}-\d{2,3}(?: \d{2,3}){1,3}"  # trunk prefix and groups, as in Sweden
)
_EXTENSION = r"(?: ?(?:x|ext\.?) ?\d{1,6})?"
_SURE_AMONG_OTHERS = re.compile(rf"(?<![^ ])(?:{_SURE}){_EXTENSION}(?= |$)")
_STRONG = re.compile(
    rf"(?:{_SURE}"
    r"|\d{3} \d{3} \d{4}|1 \d{3} \d{3} \d{4}"
    r"|0{1,2}[1-9]\d{0,3}(?:([ .-])\d{2,4})(?:\3\d{2,4}){1,3}"  # trunk prefix and groups
    r"|0{1,2}[1-9]\d{1,4} \d{5,8}|0[1-9][ -]\d{7,9}"
    rf"|0[1-9]\d{{0,3}}[ -](?!{_TWO_YEARS})\d{{3,4}}[ -]\d{{3,4}}"
    rf"|0[1-9]\d{{8,9}}){_EXTENSION}"  # trunk prefix, nothing between
    r"|\(?\d[\d ().-]{6,} ?(?:x|ext\.?) ?\d{2,6}"  # whatever has an extension
)
_EXTENDED = re.compile(r" ?(?:x|ext\.?) ?\d{1,6}$")
_DIGIT = re.compile(r"\d")
_LONGEST = 32
_ROW = re.compile(r"\d{7,15}|\d{3}[ .-]\d{4}")  # bare numbers that one word announces together


def phones(text: str) -> Iterator[tuple[int, int]]:
    """Where the telephone numbers of a text stand."""
    for match in _RUN.finditer(text):
        run, start = match[0], match.start()
        if sum(map(str.isdigit, run)) < _FEWEST:
            continue
        run, start = _unwrapped(run, start)
        for first, last in _numbers(text, run, start):
            yield start + first, start + last


def _unwrapped(run: str, start: int) -> tuple[str, int]:
    """Without the brackets that are the sentence's."""
    if run.startswith("(") and run.endswith(")") and run.count("(") == run.count(")") and ")" not in run[:-1]:
        return run[1:-1], start + 1
    if run.count("(") > run.count(")") and run.startswith("("):
        return run[1:], start + 1
    return (run[:-1], start) if run.endswith(")") and run.count(")") > run.count("(") else (run, start)


def _numbers(text: str, run: str, start: int) -> list[tuple[int, int]]:
    """The numbers that the run is a list of, or itself if it is one number, or the sure ones in it."""
    end = start + len(run)
    row = _row(run)
    if row and (_is_telephone(run[slice(*row[0])]) or announced(text, start, end)):
        return row
    if _is_telephone(run) or (
        _possible(run) and announced(text, start, end) and not no_telephone(text, start, end)
    ):
        return [(0, len(run))]
    return [m.span() for m in _SURE_AMONG_OTHERS.finditer(run) if _possible(m[0])] if " " in run else []


def _row(run: str) -> list[tuple[int, int]]:
    """The run cut at spaces into two or more numbers of one shape; empty where it cannot be."""
    shape = _DIGIT.sub("9", run)
    for length in range(_FEWEST, min(len(run) // 2, _LONGEST) + 1):
        if shape[length] == " " and (len(run) + 1) % (length + 1) == 0:
            row = [(place, place + length) for place in range(0, len(run), length + 1)]
            if all(shape[a:b] == shape[:length] and _alone(run[a:b]) for a, b in row):
                return row
    return []


def _alone(number: str) -> bool:
    return _is_telephone(number) or bool(_ROW.fullmatch(number))


def _is_telephone(number: str) -> bool:
    if not _possible(number) or not _STRONG.fullmatch(number) or is_date(number):
        return False
    return not (number.isdigit() and is_book(number))


def _possible(number: str) -> bool:
    digits = sum(map(str.isdigit, _EXTENDED.sub("", number)))
    return _FEWEST <= digits <= _MOST
