"""The words beside a number by which it is known as a telephone number, or as something else."""

from __future__ import annotations

import re

_REACH, _LETTERS = 96, 32  # characters to look back over, and letters that may stand between word and number
_BESIDE = 2  # letters between, where the number follows at once: "call at"
_CUE = re.compile(
    r"(?<![a-z[])(?:phon(?:e[ds]?|ing)|(?:cell|smart|tele)phones?|tel|call(?:s|ed|ing)?|mobile|cell|fax(?:ed)?|whatsapp|sms"
    r"|texts?|text(?:ed|ing)|dial(?:l?ed|l?ing)?|ring|rang|hotline|helpline|landline|switchboard|pager|voice ?mail"
    r"|reach(?:ed)?|contact|answer(?:s|ed|ing)?|messages?|registered"
    r"|(?:my|your|his|her|our|their|the|new|old|work|home|office|direct|emergency) numbers?"
    r"|t[ée]l[ée]phon\w*|tele[fv][oó]n\w*|tel[ée]fon\w*|m[óo]vil|celular(?:e|es)?|cellulare|rufnummer|handynummer|anrufen|puhelin\w*"
    r"|tlf|телефон\w*|тел)(?![a-z])"
    r"|(?<![\w.])(?:[TMPFH]|mob|ph|home|work|office|desk|direct)\.?:(?= ?$)",  # as on visiting cards
    re.IGNORECASE,
)
# As address blocks have it: the kind of line behind the number. Or the sentence says it then.
_BEHIND = re.compile(
    r"(?: |,? ?[-–] ?|, )\(?(?:office|home|work|mobile|cell|fax|direct|desk)\b"
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

    At most `letters` stand between. Distance is counted in letters: placeholders that take the place of numbers never bring a word nearer.
    """
    if _BEHIND.match(text, end):
        return True
    *_, former, line = ["", *text[max(0, start - _REACH) : start].split("\n")]
    before = line if line.strip() else former
    cues = [match.end() for match in _CUE.finditer(before)]
    return bool(cues) and sum(map(str.isalpha, before[cues[-1] :])) <= letters


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
