"""The words beside a number by which it is known as a telephone number, or as something else."""

from __future__ import annotations

import re
from collections.abc import Collection

_REACH, _LETTERS = 96, 32  # characters to look back over, and letters that may stand between word and number
_BESIDE = 2  # letters between, where the number follows at once: "call at"
_WHOSE = "my|your|his|her|our|their|the|new|old|work|home|office|direct|emergency"
# Of lower-case text; a placeholder keeps its bracket and so is no word that announces.
_WORD = re.compile(rf"(?:{_WHOSE}) numbers?(?![a-z])|no\.|№|\[?[^\W\d_]+")
_CUES = frozenset(
    {
        "phone", "phones", "phoned", "phoning", "cellphone", "cellphones", "smartphone", "smartphones",
        "telephone", "telephones", "tel", "call", "calls", "called", "calling", "mobile", "cell", "fax",
        "faxed", "whatsapp", "sms", "text", "texts", "texted", "texting", "dial", "dialed", "dialled",
        "dialing", "dialling", "ring", "rang", "hotline", "helpline", "landline", "switchboard", "pager",
        "voicemail", "reach", "reached", "contact", "answer", "answers", "answered", "answering", "message",
        "messages", "registered", "móvil", "movil", "celular", "cellulare", "rufnummer", "handynummer",
        "anrufen", "tlf", "тел",
    }
)  # fmt: skip
_CUE_STEMS = ("téléphon", "teléfon", "telefon", "télefon", "telefón", "puhelin", "телефон")
# As on visiting cards.
_LABEL = re.compile(r"(?<![\w.])(?:[TMPFH]|mob|ph|home|work|office|desk|direct)\.?: ?$", re.IGNORECASE)
# As address blocks have it: the kind of line behind the number. Or the sentence says it then.
_BEHIND = re.compile(
    r"(?: |[-–])\(?(?:office|home|work|mobile|cell|fax|direct|desk)\b"
    r"| (?:is|was) (?:my|your|his|her|our|their|the) (?:new |old |\w+ )?(?:number|phone|mobile|cell|fax)\b",
    re.IGNORECASE,
)
_OTHER_BEFORE = re.compile(
    r"(?:isbn(?:-1[03])?|issn|oclc|pmid|pmc|doi|id|in|about|over|than|nearly|almost|until|till|since|pages?|order|part"
    r"|model|invoice|version|no more than|up to)[ :=#.-]*$",
    re.IGNORECASE,
)
_OTHER_BEHIND = re.compile(
    r"[ -](?:years?|months?|weeks?|days?|hours?|minutes?|seconds?|people|persons?|men|women|users?|customers?"
    r"|times|miles|k?m|metres?|meters?|feet|dollars?|euros?|pounds?|percent|per cent|items?|copies|words|bytes"
    r"|tonnes?|tons?|inhabitants|readers|lines|pages)\b",
    re.IGNORECASE,
)
_THOUSANDS = re.compile(r"\d{1,3}(?:([ .])\d{3})(?:\1\d{3})+")
_DATE = re.compile(
    r"(?:1\d|20)\d\d([-./ ])\d{1,2}\1\d{1,2}|\d{1,2}([-./ ])\d{1,2}\2(?:1\d|20)?\d\d"
    r"|(?:1\d|20)\d\d[-/ ](?:1\d|20)\d\d"
)


def announced(text: str, start: int, end: int, letters: int = _LETTERS) -> bool:
    """Whether a word of the same line announces a number, or of the line before where the number begins one.

    At most so many letters stand between. They are counted without digits, so that placeholders that take the
    place of numbers never bring a word nearer.
    """
    if _BEHIND.match(text, end):
        return True
    *_, former, line = ["", *text[max(0, start - _REACH) : start].split("\n")]
    before = line if line.strip() else former
    return bool(_LABEL.search(before, max(0, len(before) - 12))) or _is_cue_near(before, letters)


def _is_cue_near(before: str, letters: int) -> bool:
    since = 0
    for word in reversed(_WORD.findall(before.lower())):
        if word in _CUES or " " in word or word.startswith(_CUE_STEMS):
            return since <= letters
        since += len(word.lstrip("["))
    return False


def is_named(before: str, names: Collection[str], letters: int) -> bool:
    """Whether one of the names stands at most so many letters before the end of what is before a number."""
    since = 0
    for word in reversed(_WORD.findall(before.lower())):
        if word in names or since > letters:
            return since <= letters
        since += len(word)
    return False


def no_telephone(text: str, start: int, end: int) -> bool:
    """Whether an announced number is a sum, a count, a date or a book's number all the same."""
    number = text[start:end]
    if is_date(number) or is_book(number):
        return True
    if number.isdigit() and number.endswith("0000"):
        return True
    if _OTHER_BEFORE.search(text, max(0, start - 24), start) or _OTHER_BEHIND.match(text, end):
        return True
    if not _THOUSANDS.fullmatch(number) or number.endswith("000"):
        return bool(_THOUSANDS.fullmatch(number))
    # Nine digits in threes are how some countries write telephone numbers, and rarely a count; fewer are both.
    return len(re.split(r"[ .]", number)[0]) < 3 and not announced(text, start, end, _BESIDE)


def is_date(number: str) -> bool:
    """Whether a number is written as a date or as two years."""
    return bool(_DATE.fullmatch(number.strip("()")))


def is_book(number: str) -> bool:
    """Whether a number is an ISBN by its check digit (ISO 2108)."""
    digits = re.sub(r"[ -]", "", number)
    if not digits.isdigit():
        return False
    if len(digits) == 10:
        return sum((10 - place) * int(digit) for place, digit in enumerate(digits)) % 11 == 0
    weighted = sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(digits))
    return len(digits) == 13 and digits[:3] in ("978", "979") and weighted % 10 == 0
