"""Personal data with a structure, replaced by what kind they were: e-mail, phone, IBAN, card, IP, national id.

A model repeats what it has read, and an address that stands in a thousand pages is none the less somebody's. What
has a checksum is checked (IBAN: ISO 13616, cards: Luhn), so that a number is not taken for what it is not.
Names and street addresses have no structure to find them by and stay.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from typing import Literal, NamedTuple

from pydantic import Field

from tasks.cleaning.phones import phones
from tasks.cleaning.unannounced import unannounced
from tasks.config import StageConfig

Kind = Literal["email", "iban", "card", "ip", "national-id", "phone", "unannounced-phone"]
KINDS: tuple[Kind, ...] = ("email", "iban", "card", "ip", "national-id", "phone", "unannounced-phone")
_ROUNDS = 16


class PersonalDataConfig(StageConfig):
    """Which kinds of personal data are replaced in the documents."""

    kinds: tuple[Kind, ...] = Field(
        default=KINDS,
        description="Kinds to replace by a placeholder; an empty list leaves the text alone. `unannounced-phone` takes "
        "numbers that only look like telephone numbers: leave it out where many identifiers stand in prose.",
    )


class Masked(NamedTuple):
    """A text without the personal data that were found, and how many there were of each kind."""

    text: str
    counts: dict[str, int]


Span = tuple[int, int]


def mask(text: str, kinds: Collection[str] = KINDS) -> Masked:
    """Replace personal data by ``[EMAIL]``, ``[IBAN]``, ``[CARD]``, ``[IP]``, ``[NATIONAL-ID]``, ``[PHONE]``.

    Telephone numbers that nothing announces are counted as a kind of their own and leave ``[PHONE]`` too.
    ``mask(mask(x).text)`` finds nothing more. Where two kinds overlap, the one that stands first in `KINDS`
    wins. Addresses that lead to nobody are left: loopback, private, link-local and documentation ranges.
    """
    counts: Counter[str] = Counter()
    rounds = 0
    while True:  # a find can hide another beside it
        before, rounds = counts.total(), rounds + 1
        for kind in KINDS:
            if kind in kinds:
                text = _replaced(text, kind, counts, whole_lines=rounds > _ROUNDS)
        if counts.total() == before:
            return Masked(text, dict(sorted(counts.items())))


def _replaced(text: str, kind: str, counts: Counter[str], whole_lines: bool) -> str:
    """Replace what one finder finds.

    A line in which every find lays open one more was made to be slow: it goes as a whole, so that the rounds end.
    """
    parts, place = [], 0
    for start, end in _FINDERS[kind](text):
        if start < place:
            continue
        if whole_lines:
            start, end = max(place, text.rfind("\n", 0, start) + 1), text.find("\n", end) % (len(text) + 1)
        parts += [text[place:start], f"[{kind.removeprefix('unannounced-').upper()}]"]
        place = end
        counts[kind] += 1
    return "".join([*parts, text[place:]]) if parts else text


def _emails(text: str) -> Iterator[Span]:
    return (match.span() for match in _EMAIL.finditer(text)) if "@" in text else iter(())


def _ibans(text: str) -> Iterator[Span]:
    """Every country has its length; spaces and hyphens between groups do not count."""
    for match in _IBAN_HEAD.finditer(text):
        length = _IBAN_LENGTHS.get(match[1].upper(), 0)
        if not length:
            continue
        body = re.compile(rf"[A-Za-z0-9](?:[ -]?[A-Za-z0-9]){{{length - 5}}}(?![A-Za-z0-9])")
        rest = body.match(text, match.end() + (text[match.end() : match.end() + 1] in (" ", "-")))
        if rest and _mod_97(text[match.start() : rest.end()]):
            yield match.start(), rest.end()


def _mod_97(iban: str) -> bool:
    plain = re.sub(r"[ -]", "", iban).upper()
    return int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % 97 == 1


def _cards(text: str) -> Iterator[Span]:
    for match in _CARD.finditer(text):
        digits = re.sub(r"\D", "", match[0])
        if _ISSUER.match(digits) and _luhn(digits):
            yield match.span()


def _luhn(digits: str) -> bool:
    doubled = (int(c) * (1 + place % 2) for place, c in enumerate(reversed(digits)))
    return sum(value - 9 * (value > 9) for value in doubled) % 10 == 0


def _addresses(text: str) -> Iterator[Span]:
    for pattern in (_IPV4, _IPV6):
        for match in pattern.finditer(text):
            if _leads_somewhere(match[0]) and not _VERSION.search(
                text[max(0, match.start() - 12) : match.start()]
            ):
                yield match.span()


def _leads_somewhere(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return found.is_global and not found.is_multicast


def _national_ids(text: str) -> Iterator[Span]:
    for pattern, valid in _NATIONAL:
        yield from (match.span() for match in pattern.finditer(text) if valid(match[0]))


def _spanish(identity: str) -> bool:
    """The letter of a DNI or NIE follows from its number."""
    plain = identity.replace("-", "").upper()
    number = plain[:-1].translate(str.maketrans("XYZ", "012"))
    return "TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23] == plain[-1]


def _french(identity: str) -> bool:
    """The key of a NIR is 97 less the rest of its number by 97."""
    plain = re.sub(r"\D", "", identity)
    return 97 - int(plain[:13]) % 97 == int(plain[13:])


_EMAIL = re.compile(
    r"(?<![\w.+%-])[A-Za-z0-9_%+-][\w.%+-]{0,63}@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}[A-Za-z]{2,24}(?![\w-])"
)
_IBAN_HEAD = re.compile(r"(?<![A-Za-z0-9])([A-Za-z]{2})\d{2}(?=[ -]?[A-Za-z0-9])")
# ISO 13616 registry: characters of an IBAN, by country.
_IBAN_LENGTHS = {
    country: int(length)
    for length, countries in {
        "15": "NO",
        "16": "BE",
        "18": "DK FO FI GL NL",
        "19": "MK SI",
        "20": "AT BA EE KZ LT LU XK",
        "21": "CH CR HR LI LV",
        "22": "BG BH DE GB GE IE ME RS VA",
        "23": "AE GI IL IQ TL",
        "24": "AD CZ ES MD PK RO SA SE SK TN VG",
        "25": "PT ST",
        "26": "IS TR",
        "27": "FR GR IT MC MR SM",
        "28": "AL AZ BY CY DO GT HU LB PL SV",
        "29": "BR EG PS QA UA",
        "30": "JO KW MU",
        "31": "MT SC",
        "32": "LC",
    }.items()
    for country in countries.split()
}
_CARD = re.compile(
    r"(?<![\d.,-])(?:\d{12,19}|\d{4}(?:[ -]\d{4}){2,3}(?:[ -]\d{1,3})?|\d{4}[ -]\d{6}[ -]\d{4,5})(?![\d]|[.,-]\d)"
)
_ISSUER = re.compile(r"4|5[0-9]|6[0-9]|2[2-7]|3[0-9]|1800|2131")
_IPV4 = re.compile(r"(?<![\w.-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)")
_IPV6 = re.compile(
    r"(?<![\w:.])(?=[0-9A-Fa-f:]{0,38}\d)(?:[0-9A-Fa-f]{1,4}:{1,2}){2,7}[0-9A-Fa-f]{1,4}(?![\w:])"
)
_VERSION = re.compile(r"(?:\bv|ver|version|release|\bec)[. :]?[ \t]*$", re.IGNORECASE)


def _always(_identity: str) -> bool:
    return True


_NATIONAL: tuple[tuple[re.Pattern[str], Callable[[str], bool]], ...] = (
    # United States: social security number, without the areas and groups that are never issued.
    (re.compile(r"(?<![\w-])(?!000|666|9)\d{3}([- ])(?!00)\d{2}\1(?!0000)\d{4}(?![\w-])"), _always),
    # United Kingdom: national insurance number.
    (
        re.compile(
            r"(?<!\w)(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?(?:\d\d ?){3}[A-D](?!\w)"
        ),
        _always,
    ),
    # Spain: DNI and NIE. France: NIR with its key. Italy: codice fiscale, whose form is specific enough.
    (re.compile(r"(?<!\w)(?:\d{8}|[XYZxyz]-?\d{7})-?[A-HJ-NP-TV-Za-hj-np-tv-z](?!\w)"), _spanish),
    (re.compile(r"(?<![\w.])[12] ?\d\d ?(?:0[1-9]|1[0-2]) ?\d\d ?\d{3} ?\d{3} ?\d\d(?![\w.])"), _french),
    (re.compile(r"(?<!\w)[A-Z]{6}\d\d[A-EHLMPRST]\d\d[A-Z]\d{3}[A-Z](?!\w)"), _always),
)
_FINDERS: dict[str, Callable[[str], Iterator[Span]]] = {
    "email": _emails,
    "iban": _ibans,
    "card": _cards,
    "ip": _addresses,
    "national-id": _national_ids,
    "phone": phones,
    "unannounced-phone": unannounced,
}
