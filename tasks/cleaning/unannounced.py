"""Telephone numbers that nothing announces: digits as a numbering plan has them, where nothing says otherwise.

They are other numbers as easily, so three things must agree: some country writes its numbers in this form, the
number stands in prose or alone on its line, and no word beside it makes it a sum, an order or a book. The forms are
those of national plans that write no trunk prefix; `phones` knows the others. Whether a number was given out is not
asked: digits at random are valid in some country nearly always (`docs/decisions/0008-personal-data.md`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tasks.cleaning.phone_words import is_named, no_telephone

# Digits with single separators between them, whole: a table's row is one run, and no form.
_RUN = re.compile(r"\d++(?:[ -]\d++)*+")
_FEWEST, _MOST = 7, 17  # characters
_GROUPED = re.compile(
    r"[5-9]\d\d([ -])\d{3}\1\d{3}"  # Spain, Poland, Czechia, Portugal: mobiles; what is counted begins lower
    r"|[489]\d\d \d\d \d{3}"  # Norway: mobiles, free calls
    r"|[5-9]\d\d \d\d \d\d \d\d|[2-9]\d\d \d\d \d\d"  # Spain, Georgia; Liechtenstein, Cape Verde
    r"|[1-9]\d \d{3} \d\d \d\d"  # Poland, Uzbekistan, Senegal
    r"|[2-9]\d \d\d \d\d \d\d"  # Denmark, Norway, much of western Africa
    r"|[2-9]\d\d \d{3}[ -]\d\d[ -]\d\d"  # Russia, Turkey
    r"|9 \d{4} \d{4}|[1-9]{2} 9?\d{4}[ -]\d{4}"  # Chile, Brazil, Mexico, Greece
    r"|[2-9]\d \d{3} \d{4}"  # Portugal, Paraguay, Tajikistan
    r"|1[38]00 \d{3} \d{3}"  # Australia, Ireland: free and shared calls
    r"|1[3-9]\d([ -])\d{4}\2\d{4}"  # China: mobiles
    r"|[6-9]\d{4} \d{5}"  # India: mobiles
    r"|(?:2[2-6]|9\d) \d{6}|3[0-5]\d \d{7}|9[678]\d-\d{7}"  # Cyprus, Oman; Colombia; Nepal
    r"|[2-9](?!11)\d\d-\d{4}"  # North America within an area
)
_BARE = re.compile(
    r"1?[2-9](?!11)[0-8]\d[2-9](?!11)\d{6}"  # North America: area code, exchange, line
    r"|00[1-9]\d{9,12}"  # international, dialled
)
# Two groups are also a house number and another: only where no street follows.
_LOCAL = re.compile(r"[2-9](?!11)\d\d \d{4}|[2-9]\d{3}[ -]\d{4}")
_PAIRS = len("22 11 33 44")  # in rising order they were drawn or sorted
_YEAR = re.compile(r"\b(?:1[5-9]|20)\d\d\b")
_STAMP = re.compile(r"20\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:[01]\d|2[0-3])")  # a day and its hour
_WORD_SIZES = (1 << 31, 1 << 32, 1 << 33)  # the numbers around them are the limits of machines
_COUNTING = ("0123456789" * 2, "9876543210" * 2)

_LETTER = r"(?:(?<!\d)[^\W\d_](?!\d)|\[EMAIL\])"  # of a word; beside a digit it is one of a code
_BEFORE = re.compile(rf"{_LETTER}[.,;:!?)]* (?:[-–—] )?[\"'(“‘]?$")
_ALONE_BEFORE = re.compile(r"[ \t>*•–-]*[\"'(“‘]?")
_CLOSED = r"[\"'’”)]?[.,;:!?]*[\"'’”)]?"
_LINE_ENDS = r"[ \t\r]*(?:\n|\Z)"
_BEHIND = re.compile(rf"{_CLOSED}(?:{_LINE_ENDS}| (?:[-–—] )?[\"'(“‘]?{_LETTER})")
_SENTENCE_ENDS = re.compile(rf"[\"'’”)]?(?:[.;!?]+[\"'’”)]?(?:\s|\Z)|{_LINE_ENDS})")
# Words that go on with a sentence and begin no name.
_GOES_ON = re.compile(
    r",? (?:and|or|but|if|is|was|to|for|when|because|today|tomorrow|tonight|now|please|after|before|at|on|as|so|then"
    r"|that|which|who|can|could|will|would|has|have|thanks)\b"
)
_LINE_END = re.compile(rf"{_CLOSED}{_LINE_ENDS}")
_REACH, _LINE_REACH = 48, 96  # characters to look back over, and of a line beside
_LETTERS = 12  # that may stand between a noun and the number it counts or names
_NOUNS = frozenset(
    {
        "id", "ids", "uid", "uids", "gid", "gids", "pid", "pids", "order", "orders", "invoice", "account",
        "acct", "card", "ref", "reference", "ticket", "case", "claim", "policy", "customer", "member",
        "membership", "patient", "student", "employee", "license", "licence", "passport", "permit",
        "serial", "sku", "upc", "ean", "gtin", "asin", "isbn", "issn", "lccn", "oclc", "pmid", "pmc", "doi",
        "viaf", "isni", "arxiv", "model", "part", "item", "product", "version", "build", "rev", "revision",
        "commit", "merge", "merged", "sha", "patent", "batch", "lot", "seed", "hash", "checksum", "crc",
        "key", "keys", "token", "tokens", "code", "codes", "pin", "zip", "postal", "postcode", "timestamp",
        "epoch", "offset", "address", "port", "size", "length", "range", "value", "values", "population",
        "total", "sum", "count", "tracking", "shipment", "parcel", "booking", "reservation", "confirmation",
        "transaction", "barcode", "byte", "bytes", "record", "records", "row", "rows", "table", "figure",
        "page", "pages", "chapter", "volume", "vol", "section", "bug", "issue", "catalog", "catalogue",
        "vin", "vat", "tax", "bank", "routing", "balance", "amount", "price", "cost", "salary", "revenue",
        "budget", "usd", "eur", "gbp", "integer", "integers", "random", "prime", "equals", "no.", "nr", "№",
    }
)  # fmt: skip
_UNITS = frozenset(
    {
        "usd", "eur", "gbp", "czk", "pln", "sek", "nok", "dkk", "kč", "zł", "kr", "ft", "rub", "rubles",
        "yen", "yuan", "rupees", "b", "kb", "mb", "gb", "tb", "kib", "mib", "gib", "bit", "bits", "hz",
        "kg", "g", "km", "mm", "ms", "ns", "unit", "units", "shares", "votes", "voters", "soldiers",
        "workers", "children", "households", "students", "points", "records", "rows", "entries", "files",
        "residents", "cells", "cycles", "iterations", "steps", "tokens", "parameters",
    }
)  # fmt: skip
_UNIT = re.compile(r" ?(?:([$€£¥₹%])|([^\W\d_]+)(?!\w))")
_POSTCODE = re.compile(r"\d{3}-\d{4}")
_JAPAN = re.compile(r"Japan|〒|-(?:shi|ku|ken|fu|cho)\b")
_PLACEHOLDER = re.compile(r"\[(?!EMAIL\])[A-Z-]+\]")


def unannounced(text: str) -> Iterator[tuple[int, int]]:
    """Where telephone numbers stand that are known by form and place alone."""
    for match in _RUN.finditer(text):
        start, end = match.span()
        if not _FEWEST <= end - start <= _MOST or not _is_form(match[0]) or not _in_prose(text, start, end):
            continue
        if not (_LOCAL.fullmatch(match[0]) and _may_be_of_a_street(text, end)) and not _is_other(
            text, start, end
        ):
            yield start, end


def _is_form(number: str) -> bool:
    if _BARE.fullmatch(number):
        return not _is_of_machines(number)
    if not (_GROUPED.fullmatch(number) or _LOCAL.fullmatch(number)) or _YEAR.search(number):
        return False
    groups = number.split(" ")
    return not (len(groups) == 4 and groups == sorted(groups) and len(number) == _PAIRS)


def _is_of_machines(digits: str) -> bool:
    """Whether the digits are a limit of integers, a time stamp, or were counted or held down on a keyboard."""
    if any(abs(int(digits) - size) < 4 for size in _WORD_SIZES) or _STAMP.fullmatch(digits):
        return True
    return len(set(digits)) < 3 or any(digits in counting for counting in _COUNTING)


def _in_prose(text: str, start: int, end: int) -> bool:
    """Whether words stand beside the number, or it is alone on a line that is not one of a column of numbers."""
    before = text[max(0, start - _REACH) : start].rpartition("\n")[2]
    if not _BEHIND.match(text, end):
        return False
    if not _ALONE_BEFORE.fullmatch(before):
        return bool(_BEFORE.search(before))
    line_end = _LINE_END.match(text, end)
    if not line_end:
        return True
    above = text[max(0, start - len(before) - 1 - _LINE_REACH) : max(0, start - len(before) - 1)]
    below = text[line_end.end() : line_end.end() + _LINE_REACH]
    return not (_is_number_line(above.rpartition("\n")[2]) or _is_number_line(below.partition("\n")[0]))


def _is_number_line(line: str) -> bool:
    """A placeholder counts as the number it stands for, so that replacing one number frees no other."""
    plain = _PLACEHOLDER.sub("0", line)
    return any(map(str.isdigit, plain)) and not any(map(str.isalpha, plain))


def _may_be_of_a_street(text: str, end: int) -> bool:
    return not (_SENTENCE_ENDS.match(text, end) or _GOES_ON.match(text, end))


def _is_other(text: str, start: int, end: int) -> bool:
    """Whether the number or a word beside it tells that it is something else."""
    number = text[start:end]
    if number.endswith("000") or _is_counted(text, end) or no_telephone(text, start, end):
        return True
    if _POSTCODE.fullmatch(number) and _JAPAN.search(text[max(0, start - _REACH) : end + _REACH]):
        return True
    return is_named(text[max(0, start - _REACH) : start].rpartition("\n")[2], _NOUNS, _LETTERS)


def _is_counted(text: str, end: int) -> bool:
    unit = _UNIT.match(text, end)
    return unit is not None and (unit[2] is None or unit[2].lower() in _UNITS)
