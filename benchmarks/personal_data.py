"""How much personal data is found, and how much else: `python -m benchmarks.personal_data FILE [TEXT.parquet]`.

FILE is presidio-research's synthetic set (`synth_dataset_v2.json`, MIT). Its documents are dealt into two halves
by a fixed seed: the patterns were written with an eye on the first alone. It holds so few of some kinds that even a
perfect score has a low bound, so sentences made here, with numbers drawn from the published forms, stand beside it.
TEXT, a table with a column `text`, tells how often ordinary text is touched; the table of random numbers how often one
is replaced in a sentence that says nothing of it, with the telephones that nothing announces and without.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.shares import exact_interval, share
from tasks.cleaning.pii import KINDS, mask

_TYPES = {
    "EMAIL_ADDRESS": "email",
    "IBAN_CODE": "iban",
    "CREDIT_CARD": "card",
    "IP_ADDRESS": "ip",
    "US_SSN": "national-id",
    "PHONE_NUMBER": "phone",
}
_MADE = 500
_ANNOUNCED = tuple(kind for kind in KINDS if kind != "unannounced-phone")
_RANDOM = 2_000  # numbers of each shape
_SHAPES = (
    *("9" * length for length in range(7, 13)),
    *(
        "999 9999",
        "999-9999",
        "9999 9999",
        "99 999 999",
        "99 99 99 99",
        "999 999 999",
        "99 999 99 99",
        "9 999 999 999",
    ),
)
Document = tuple[str, Counter[str]]


def main() -> None:
    """Print recall and precision with exact 95 % intervals (Clopper and Pearson 1934)."""
    entries = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    generator = random.Random(0)
    halves: tuple[list[Any], list[Any]] = ([], [])
    for entry in entries:
        halves[generator.random() >= 0.5].append(entry)
    print("| text | kind | there | found | recall | lowest if all were | replaced | precision |")
    print("|---|---|---|---|---|---|---|---|")
    _rows("first half", _judged(halves[0]))
    _rows("second half", _judged(halves[1]))
    _rows("whole file", _judged(entries))
    _rows("made here", _judge_made())
    _price()
    for path in sys.argv[2:]:
        _ordinary(Path(path))


def _rows(name: str, tallies: dict[str, Counter[str]]) -> None:
    counted = [(kind, *(tallies[of][kind] for of in ("there", "found", "replaced"))) for kind in _ANNOUNCED]
    everything = ("all", *(tallies[of].total() for of in ("there", "found", "replaced")))
    for kind, there, found, replaced in [*counted, everything]:
        print(
            f"| {name} | {kind} | {there} | {found} | {share(found, there, 3)} | {exact_interval(there, there)[0]:.3f} "
            f"| {replaced} | {share(found, replaced, 3)} |"
        )


def _masked(text: str) -> tuple[str, Counter[str]]:
    """The masked text, and what was found, telephone numbers of both sorts together."""
    result = mask(text)
    counts = Counter(result.counts)
    if unannounced := counts.pop("unannounced-phone", 0):
        counts["phone"] += unannounced
    return result.text, counts


def _judged(entries: Iterable[Any]) -> dict[str, Counter[str]]:
    """Tell for each labelled span whether it went: a text with only that span left is masked as the whole is."""
    tallies: dict[str, Counter[str]] = {name: Counter() for name in ("there", "found", "replaced")}
    for entry in entries:
        text, (masked, left) = entry["full_text"], _masked(entry["full_text"])
        tallies["replaced"].update(left)
        for span in entry["spans"]:
            kind = _TYPES.get(span["entity_type"])
            if kind is None:
                continue
            tallies["there"][kind] += 1
            gone = span["entity_value"] not in masked and text.count(span["entity_value"]) > 0
            if gone and left[kind] > 0:
                left[kind] -= 1
                tallies["found"][kind] += 1
    return tallies


def _judge_made() -> dict[str, Counter[str]]:
    generator = random.Random(1)
    tallies: dict[str, Counter[str]] = {name: Counter() for name in ("there", "found", "replaced")}
    for kind, make in _MAKERS.items():
        for _ in range(_MADE):
            value = make(generator)
            masked, counts = _masked(generator.choice(_PLAIN).format(value))
            tallies["there"][kind] += 1
            tallies["found"][kind] += value not in masked and counts[kind] == 1
            tallies["replaced"].update(counts)
    for text in _hard_negatives(generator):
        tallies["replaced"].update(_masked(text)[1])
    return tallies


def _price() -> None:
    """Random numbers, bare and in threes as counts are written, that are replaced by whatever kind."""
    generator = random.Random(2)
    print(f"\n| {_RANDOM:,} random numbers as | replaced | without unannounced telephones |\n|---|---|---|")
    for shape in _SHAPES:
        numbers = [_shaped(generator, shape) for _ in range(_RANDOM)]
        texts = [generator.choice(_NEUTRAL).format(number) for number in numbers]
        new, old = (sum(bool(mask(text, kinds).counts) for text in texts) for kinds in (KINDS, _ANNOUNCED))
        print(f"| {shape} | {new / _RANDOM:.1%} | {old / _RANDOM:.1%} |")


def _shaped(generator: random.Random, shape: str) -> str:
    """Random digits for the nines, the first of them no zero."""
    return generator.choice("123456789") + "".join(
        generator.choice("0123456789") if place == "9" else place for place in shape[1:]
    )


def _digits(generator: random.Random, count: int, first: str = "123456789") -> str:
    return generator.choice(first) + "".join(generator.choices("0123456789", k=count - 1))


def _email(generator: random.Random) -> str:
    name = generator.choice(["jo", "maria.k", "x_99", "a-b", "o'neill".replace("'", ""), "tom+list"])
    host = generator.choice(["example.org", "mail.example.com", "a1.example.co.uk", "xn--bcher-kva.example"])
    return f"{name}{generator.randrange(1000)}@{host}"


def _iban(generator: random.Random) -> str:
    country, length = generator.choice(
        [("GB", 22), ("DE", 22), ("FR", 27), ("NO", 15), ("MT", 31), ("ES", 24)]
    )
    bank = "".join(generator.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ", k=4)) if country in ("GB", "MT") else ""
    body = bank + _digits(generator, length - 4 - len(bank))
    check = 98 - int("".join(str(int(c, 36)) for c in f"{body}{country}00")) % 97
    plain = f"{country}{check:02}{body}"
    grouped = " ".join(plain[i : i + 4] for i in range(0, len(plain), 4))
    return generator.choice([plain, grouped, plain.lower()])


def _card(generator: random.Random) -> str:
    prefix, length = generator.choice(
        [("4", 16), ("51", 16), ("2221", 16), ("34", 15), ("6011", 16), ("36", 14), ("3528", 16)]
    )
    body = prefix + "".join(generator.choices("0123456789", k=length - len(prefix) - 1))
    total = sum(v - 9 * (v > 9) for p, c in enumerate(reversed(body)) for v in [int(c) * (2 - p % 2)])
    plain = body + str(-total % 10)
    separator = generator.choice(["", " ", "-"]) if length == 16 else ""
    return separator.join(plain[i : i + 4] for i in range(0, length, 4))


def _ip(generator: random.Random) -> str:
    if generator.random() < 0.3:
        return "2600:" + ":".join(f"{generator.randrange(1, 65536):x}" for _ in range(7))
    return f"{generator.choice([8, 23, 81, 151, 212])}." + ".".join(
        str(generator.randrange(1, 255)) for _ in range(3)
    )


def _national_id(generator: random.Random) -> str:
    number = generator.randrange(10**8)
    return generator.choice(
        [
            f"{generator.randrange(1, 666):03}-{generator.randrange(1, 100):02}-{generator.randrange(1, 10000):04}",
            f"{number:08}{'TRWAGMYFPDXBNJZSQVHLCKE'[number % 23]}",
            f"AB {_digits(generator, 2)} {_digits(generator, 2)} {_digits(generator, 2)} {generator.choice('ABCD')}",
        ]
    )


def _phone(generator: random.Random) -> str:
    d = partial(_digits, generator)
    return generator.choice(
        [
            f"+44 20 {d(4)} {d(4)}",
            f"+49 {d(3)} {d(7)}",
            f"+1-{d(3)}-{d(3)}-{d(4)}",
            f"({d(3)}) {d(3)}-{d(4)}",
            f"{d(3)}-{d(3)}-{d(4)}",
            f"{d(3)}.{d(3)}.{d(4)} x{d(3)}",
            f"0{d(1)} {d(2)} {d(2)} {d(2)} {d(2)}",
            f"0{d(3)} {d(6)}",
            f"+33 {d(1)} {d(2)} {d(2)} {d(2)} {d(2)}",
            f"001-{d(3)}-{d(3)}-{d(4)}x{d(4)}",
            f"+61 (0){d(1)} {d(4)} {d(4)}",
            f"0{d(3)}/{d(7)}",
        ]
    )


def _hard_negatives(generator: random.Random) -> Iterator[str]:
    d = partial(_digits, generator)
    for _ in range(200):
        year, month, day = (
            generator.randrange(1800, 2100),
            generator.randrange(1, 13),
            generator.randrange(1, 29),
        )
        yield f"It happened on {year}-{month:02}-{day:02}, or {day}.{month}.{year}, from {year - 9} to {year}."
        yield f"Version {d(1)}.{d(1)}.{d(2)}.{d(1)} was released after v{d(1)}.{d(2)}.{d(1)}."
        yield f"The sum was {d(1)},{d(3)},{d(3)}.{d(2)} dollars for {d(2)} {d(3)} {d(3)} people."
        yield f"ISBN 978-{d(1)}-{d(2)}-{d(6)}-{d(1)} costs ${d(2)}.{d(2)}."
        yield f"Genesis {d(2)}:{d(2)}-{d(2)} and chapter {d(2)}, verses {d(1)} to {d(2)}."
        yield f"At {d(2)}:{generator.randrange(60):02}:{generator.randrange(60):02} the score was {d(2)}-{d(2)}."
        yield f"commit {generator.getrandbits(160):040x} at {d(2)}.{d(5)}, -{d(2)}.{d(5)}"
        yield f"part no. {d(4)}-{d(2)}, {d(5)}-{d(3)}, model {d(7)}, order {d(10)}"
        yield f"{generator.getrandbits(64):016x} {'-'.join(f'{generator.getrandbits(8):02x}' for _ in range(6))}"
        yield f"Call me in {d(1)}000000 years, or in {d(2)} {d(3)} {d(3)} days."
        yield f"Please contact about {d(2)} {d(3)} {d(3)} people; the call counted {d(2)}{d(3)}{d(3)} times."
        yield f"We live at {d(3)} {d(4)} Hill Street, they in {d(4)} {d(4)} Mill Lane and {d(5)} {d(3)} Main Road."
        yield f"seed {d(10)}, order number {d(10)}, customer {d(10)}\nx = {d(10)}\nf({d(10)}); [{d(10)}]"
        yield f"{d(10)}\n{d(10)}\n{d(10)}\n\n{d(3)} {d(3)} {d(3)} {d(3)} {d(3)} {d(3)}\n"
        yield f"limits {2**31 - 1} and {2**32 - 1}; it was {generator.randrange(10**9, 18 * 10**8)} by the clock"
        yield f"sold {d(3)} {d(3)} {d(3)} units, {d(3)} {d(3)} {d(3)} € and {d(3)} {d(3)} 000 in all"
        yield f"pi is 3.{d(12)}, e is 2.{d(9)}, and {d(12)} is a large number"


_MAKERS: dict[str, Callable[[random.Random], str]] = {
    "email": _email,
    "iban": _iban,
    "card": _card,
    "ip": _ip,
    "national-id": _national_id,
    "phone": _phone,
}
_PLAIN = ["It is {}.", "{} was on the form", "We noted {}, and went on.", "see ({})", "old: {}\nnew: none"]
_NEUTRAL = [
    "It came out as {} in the end.",
    "The machine printed {}.",
    "They wrote down {}, and nobody knew why.",
    "{} is what he had in mind",
    "Nobody expected {} here.",
]


def _ordinary(path: Path) -> None:
    import pyarrow.parquet as pq

    texts = pq.read_table(path, columns=["text"]).column("text").to_pylist()
    size = sum(len(text.encode()) for text in texts) / 1e6
    for name, kinds in (("all kinds", KINDS), ("without unannounced telephones", _ANNOUNCED)):
        started, counts = time.process_time(), Counter[str]()
        for text in texts:
            counts.update(mask(text, kinds).counts)
        speed = size / (time.process_time() - started)
        print(f"\nordinary text, {name}: {size:.1f} MB, {speed:.1f} MB/s, replaced {dict(counts)}")


if __name__ == "__main__":
    main()
