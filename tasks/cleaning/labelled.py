"""Labelled rows: the standard form of the documents, copies out, and groups that no split tears apart."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from tasks.cleaning import splits
from tasks.cleaning.changes import Change, of_preparation, together
from tasks.cleaning.config import CleaningConfig
from tasks.cleaning.duplicates import clusters, exact_duplicates, find, unite
from tasks.cleaning.ledger import Ledger
from tasks.cleaning.page import Finding
from tasks.cleaning.pii import Masked, mask
from tasks.cleaning.shingles import Fingerprints, normalised, text_key, word_hashes, words
from tasks.cleaning.standardisation import UnstableTextError, standardise

Row = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """What cleaning must know of a labelled set.

    Attributes:
        name: as in `tables.LABELLED`.
        texts: its columns of text; the first stands for the row in the quarantine.
        optional: those of them that may be empty.
        settle: what is to be done after the texts were standardised; returns a finding when the row is
        unusable.
        identity: rows that agree in it are copies.
        look: the text by which look-alikes are found.
        tie: a column whose equal values belong together as well, or "".
        examined: the texts that must not be in the training text when the row is held out.
    """

    name: str
    texts: tuple[str, ...]
    identity: Callable[[Row], str]
    look: Callable[[Row], str]
    examined: tuple[str, ...]
    optional: tuple[str, ...] = ()
    settle: Callable[[Mapping[str, Any], Row], Finding | None] = lambda raw, row: None
    tie: str = ""


def process(
    task: Task, rows: Sequence[Row], config: CleaningConfig, ledger: Ledger, folder: Path
) -> list[Row]:
    """Clean and split one labelled set; what is left out goes to the ledger.

    Near-duplicates are put into one split rather than dropped: that two reviews or two messages differ in one
    word is worth learning, but not worth examining.

    Raises:
        DataError: too few rows are left for three splits. An empty set stays empty.
    """
    standard: dict[int, Row] = {}
    for position, raw in enumerate(rows):
        ledger.receive(task.name, raw, _size(task, raw))
        row, masked, changes, finding = _standard(task, raw, config.personal_data.kinds)
        ledger.mask(task.name, raw, masked)
        ledger.change(task.name, raw, together(changes))
        if finding:
            ledger.drop(task.name, position, raw, finding, raw[task.texts[0]])
        else:
            standard[position] = row
    places = list(standard)
    copies = exact_duplicates(
        [task.identity(standard[place]).encode() for place in places],
        [standard[place]["id"] for place in places],
    )
    for index, copy in copies.items():
        row = standard.pop(places[index])
        original = standard.get(places[copy.of]) or row
        reason = f"same as {original['id']}"
        ledger.drop(
            task.name, places[index], row, Finding("exact-duplicate", reason, 1.0), row[task.texts[0]]
        )
    result = list(standard.values())
    for row, split in zip(result, _splits(task, result, config, folder), strict=True):
        row["split"] = split
        ledger.keep(task.name, row, _size(task, row))
    return result


def held_out_texts(task: Task, rows: Sequence[Row]) -> list[str]:
    """The distinct texts on which a model will be examined."""
    return sorted({row[column] for row in rows if row["split"] != splits.TRAIN for column in task.examined})


def _standard(
    task: Task, raw: Row, kinds: tuple[str, ...]
) -> tuple[Row, Mapping[str, int], list[Change], Finding | None]:
    row = dict(raw)
    masked: Counter[str] = Counter()
    changes: list[Change] = []
    for column in task.texts:
        try:
            (row[column], counts), changed = _standardise(raw[column], kinds)
        except UnstableTextError as error:
            return row, masked, changes, Finding("unreadable", f"{column} {error}", 0.0)
        masked.update(counts)
        changes += changed
        if not row[column] and column not in task.optional:
            return row, masked, changes, Finding("empty", f"{column} is empty", 0.0)
    return row, masked, changes, task.settle(raw, row)


def _splits(task: Task, rows: Sequence[Row], config: CleaningConfig, folder: Path) -> list[str]:
    if not rows:
        return []
    groups = _groups(task, rows, config, folder)
    chosen = splits.assign(groups, config.splits, f"{task.name} rows")
    return [chosen[group] for group in groups]


def _groups(task: Task, rows: Sequence[Row], config: CleaningConfig, folder: Path) -> list[bytes]:
    """The group of each row, named by the smallest hash of its texts, whatever the order of the rows."""
    keys = [text_key(task.look(row)) for row in rows]
    distinct = sorted(set(keys))
    number = {key: place for place, key in enumerate(distinct)}
    looks = {key: task.look(row) for key, row in zip(keys, rows, strict=True)}
    with Fingerprints(config.labelled_groups, folder / ".shingles") as texts:
        for key in distinct:
            texts.add(word_hashes(looks[key], words(looks[key])))
        parent = clusters(texts)
    first: dict[str, int] = {}
    for row, key in zip(rows, keys, strict=True):
        if task.tie:
            unite(parent, first.setdefault(row[task.tie], number[key]), number[key])
    return [distinct[find(parent, number[key])] for key in keys]


def _place_answer(raw: Mapping[str, Any], row: Row) -> Finding | None:
    """Find the answer again in the standardised context, at the occurrence nearest to where it was."""
    start = int(raw["answer_start"])
    if not row["answer"]:
        return None
    if start < 0 or not raw["context"].startswith(raw["answer"], start):
        return Finding("answer-span", "the answer does not stand at answer_start", start)
    expected = len(_standardise_prefix(raw["context"][:start]))
    found = [match.start() for match in re.finditer(f"(?={re.escape(row['answer'])})", row["context"])]
    if not found:
        return Finding("answer-span", "the answer is not in the standardised context any more", start)
    row["answer_start"] = min(found, key=lambda place: (abs(place - expected), place))
    return None


def _masked(text: str) -> str:
    """A message without what varies in it: placeholders, tags and numbers all look alike."""
    return _VARIABLE.sub(" 0 ", text)


_VARIABLE = re.compile(
    r"%\([^()]{0,80}\)[a-z]|%[a-z]|\{\{?[^{}]{0,80}\}?\}|</?[a-z][^<>]{0,200}>|\d+", re.IGNORECASE
)

SENTIMENT = Task(
    name="sentiment",
    texts=("text",),
    identity=lambda row: normalised(row["text"]),
    look=lambda row: str(row["text"]),
    examined=("text",),
)
QUESTION_ANSWERING = Task(
    name="question-answering",
    texts=("context", "question", "answer"),
    optional=("answer",),
    settle=_place_answer,
    identity=lambda row: "\0".join(
        (row["context"], row["question"], row["answer"], str(row["answer_start"]))
    ),
    look=lambda row: str(row["context"]),
    tie="context_id",
    examined=("context",),
)
TRANSLATION = Task(
    name="translation",
    texts=("source_text", "target_text"),
    identity=lambda row: "\0".join((row["source_text"], row["target_text"])),
    look=lambda row: _masked(row["source_text"]),
    examined=("source_text", "target_text"),
)
TASKS = (SENTIMENT, QUESTION_ANSWERING, TRANSLATION)


@lru_cache(maxsize=1024)
def _standardise(text: str, kinds: tuple[str, ...]) -> tuple[Masked, list[Change]]:
    """The standard form without personal data; contexts come once for each of their questions."""
    standard = standardise(text)
    masked = mask(standard, kinds)
    clean = standardise(masked.text)
    return Masked(clean, masked.counts), of_preparation((text, text, standard, clean), masked.counts)


def _standardise_prefix(text: str) -> str:
    try:
        return standardise(text)
    except UnstableTextError:
        return text


def _size(task: Task, row: Mapping[str, Any]) -> int:
    return sum(len(row[column].encode()) for column in task.texts)
