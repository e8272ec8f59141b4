"""Documents on their way through the stage, in two passes: one judges each, one writes what stays.

Between the passes the texts lie in a file beside the result, so that memory holds a few hundred bytes for
each document, however long it is.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks import tables
from tasks.cleaning import c4, splits
from tasks.cleaning.changes import REFUSED_LINES, REPEATED_PARAGRAPHS, Change
from tasks.cleaning.config import CleaningConfig
from tasks.cleaning.contamination import HeldOut
from tasks.cleaning.duplicates import exact_duplicates, leaks, near_duplicates
from tasks.cleaning.language import UNDETERMINED, Language
from tasks.cleaning.ledger import DOCUMENTS, Ledger
from tasks.cleaning.names import Names
from tasks.cleaning.page import Finding, Page
from tasks.cleaning.paragraphs import Paragraphs
from tasks.cleaning.pool import Failure, Pool, Prepared
from tasks.cleaning.rules import build, first_finding
from tasks.cleaning.shingles import Fingerprints, text_key, word_hashes, words
from tasks.cleaning.urls import same_page
from tasks.errors import DataError

logger = logging.getLogger(__name__)

_EVERY = 5_000  # documents between two lines of progress
_SURVIVORS = pa.schema(
    [pa.field("position", pa.int64()), *(f for f in tables.CLEAN_DOCUMENTS if f.name != "split")]
)


@dataclass
class Survivors:
    """What is remembered of the documents that no rule objected to; lists run in parallel."""

    ids: list[str] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list)
    domains: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    pages: list[str] = field(default_factory=list)
    findings: dict[int, Finding] = field(default_factory=dict)


def process(source: Path, held_out: HeldOut, config: CleaningConfig, ledger: Ledger, folder: Path) -> None:
    """Clean and split the documents of a table into ``folder/documents.parquet``, in the order of the input.

    Raises:
        DataError: more failures of extraction than allowed, nothing left, or too little for three splits.
    """
    kept_aside = folder / ".survivors.parquet"
    survivors = Survivors()
    try:
        with Fingerprints(config.near_duplicates, folder / ".shingles") as texts:
            rows = _judge(source, held_out, config, ledger, survivors, texts)
            tables.write(kept_aside, rows, _SURVIVORS)
            _find_copies(survivors, texts)
            paragraphs = _learn_paragraphs(kept_aside, survivors, config)
            chosen = _choose_splits(survivors, config, ledger)
            check_leakage(texts, chosen, survivors.ids)
        tables.write(
            folder / "documents.parquet",
            _settle(kept_aside, survivors, chosen, ledger, paragraphs, config),
            tables.CLEAN_DOCUMENTS,
        )
        ledger.note_paragraphs(paragraphs.removed, paragraphs.removed_bytes)
    finally:
        kept_aside.unlink(missing_ok=True)


def check_leakage(texts: Fingerprints, chosen: list[str], ids: list[str]) -> None:
    """Make sure that no two near-duplicates lie in different splits; rows without a split are left out.

    Held-out documents need no other check against the training documents: a copy of one was removed before.

    Raises:
        DataError: naming the first such pair.
    """
    for left, right in leaks(texts, chosen):
        raise DataError(
            f"{ids[left]!r} ({chosen[left]}) is a near-duplicate of {ids[right]!r} ({chosen[right]})",
            stage="cleaning",
            remedy="this is a bug; report it",
        )


def _judge(
    source: Path,
    held_out: HeldOut,
    config: CleaningConfig,
    ledger: Ledger,
    survivors: Survivors,
    texts: Fingerprints,
) -> Iterator[dict[str, Any]]:
    """First pass: yield the documents that no rule objects to, and remember what copies are found by."""
    failures = _Failures(pq.read_metadata(source).num_rows, config.max_bad_ratio)
    rules_for = cache(partial(build, config))
    names = Names(config.names, config.personal_data.kinds)
    with Pool(config.extraction, config.personal_data.kinds) as pool:
        for position, (raw, outcome) in enumerate(pool.prepare(_received(source, ledger))):
            if position and position % _EVERY == 0:
                logger.info("%d of %d documents prepared", position, failures.total)
            if isinstance(outcome, Failure):
                failures.add(raw, outcome)
                ledger.drop(DOCUMENTS, position, raw, Finding(*outcome), raw["text"])
                continue
            outcome = names.without(outcome)
            ledger.mask(DOCUMENTS, raw, outcome.masked)
            ledger.change(DOCUMENTS, raw, outcome.changes)
            outcome = _without_refused_lines(raw, outcome, config, ledger)
            page = Page(outcome.text, raw["domain"], outcome.language, words(outcome.text), raw["uri"])
            if finding := first_finding(rules_for(raw["domain"]), page):
                ledger.drop(DOCUMENTS, position, raw, finding, outcome.text or raw["text"])
                continue
            key = text_key(outcome.text, page.words)
            hashed = word_hashes(outcome.text, page.words)
            if finding := held_out.check(hashed, key):
                survivors.findings[len(survivors.ids)] = finding
            row = _row(position, raw, outcome, len(page.words), config)
            survivors.ids.append(raw["id"])
            survivors.keys.append(key)
            survivors.domains.append(raw["domain"])
            survivors.sizes.append(row["bytes"])
            survivors.pages.append(same_page(raw["uri"]) if config.url_duplicates else "")
            texts.add(hashed)
            yield row


def _without_refused_lines(
    raw: Mapping[str, Any], prepared: Prepared, config: CleaningConfig, ledger: Ledger
) -> Prepared:
    """What the rules for lines leave, before the rules for documents look."""
    if not config.c4.applies_to(raw["domain"]):
        return prepared
    text, removed = c4.edit(prepared.text, config.c4)
    if removed:
        before, after = len(prepared.text.encode()), len(text.encode())
        ledger.note_lines(raw["domain"], removed, before - after)
        reason = "lines removed: " + ", ".join(
            f"{count} by {rule}" for rule, count in sorted(removed.items())
        )
        change = Change(REFUSED_LINES, reason, sum(removed.values()), before, after)
        ledger.change(DOCUMENTS, raw, [change])
    return prepared._replace(text=text)


def _received(source: Path, ledger: Ledger) -> Iterator[dict[str, Any]]:
    for row in tables.iterate(source):
        ledger.receive(DOCUMENTS, row, len(row["text"].encode()))
        yield row


def _row(
    position: int, raw: Mapping[str, Any], prepared: Prepared, count: int, config: CleaningConfig
) -> dict[str, Any]:
    facts = {
        "position": position,
        "text": prepared.text,
        "language": _language(prepared.language, config),
        "words": count,
        "bytes": len(prepared.text.encode()),
    }
    return facts | {name: raw[name] for name in ("id", "domain", "source", "uri", "licence", "sha256")}


def _language(language: Language, config: CleaningConfig) -> str:
    """A text that was kept though it looks like another language was too short or too unclear to tell."""
    return language.code if language.code in config.language.keep else UNDETERMINED


def _find_copies(survivors: Survivors, texts: Fingerprints) -> None:
    """Add the findings of the steps that compare documents; a copy counts as a copy, contaminated or not."""
    copies = exact_duplicates(survivors.keys, survivors.ids)
    for row, copy in copies.items():
        survivors.findings[row] = Finding("exact-duplicate", f"same text as {survivors.ids[copy.of]}", 1.0)
    distinct = [row for row in range(len(survivors.ids)) if row not in copies]
    # The longest says most; of equally long ones the id decides, so that the order of the input does not.
    order = sorted(distinct, key=lambda row: (-survivors.sizes[row], survivors.ids[row]))
    order = _one_of_each_page(survivors, order)
    for row, copy in near_duplicates(texts, order).items():
        reason = f"near-duplicate of {survivors.ids[copy.of]}"
        survivors.findings[row] = Finding("near-duplicate", reason, copy.similarity)


def _one_of_each_page(survivors: Survivors, order: list[int]) -> list[int]:
    """The first row of each web page, and all rows that have none."""
    first: dict[str, int] = {}
    stay = []
    for row in order:
        page = survivors.pages[row]
        if page and first.setdefault(page, row) != row:
            reason = f"same address as {survivors.ids[first[page]]}"
            survivors.findings[row] = Finding("url-duplicate", reason, 1.0)
        else:
            stay.append(row)
    return stay


def _choose_splits(survivors: Survivors, config: CleaningConfig, ledger: Ledger) -> list[str]:
    """The split of each document that stays, "" for the others."""
    stays = [row for row in range(len(survivors.ids)) if row not in survivors.findings]
    if len(stays) < len(splits.NAMES):
        removed = ledger.dropped_by_rule(DOCUMENTS) + Counter(f.rule for f in survivors.findings.values())
        raise _too_few(len(stays), ledger.total(DOCUMENTS).records_in, removed)
    keys = [survivors.keys[row] for row in stays]
    chosen = splits.assign_documents(keys, [survivors.domains[row] for row in stays], config.splits)
    result = [""] * len(survivors.ids)
    for row, key in zip(stays, keys, strict=True):
        result[row] = chosen[key]
    return result


def _too_few(left: int, total: int, removed: Counter[str]) -> DataError:
    """What to tell when documents do not suffice for train, validation and test: which rules took the others."""
    most = "".join(f", rule {rule} removed {count}" for rule, count in removed.most_common(3))
    return DataError(
        f"{left} of {total} documents left{most}",
        stage="cleaning",
        remedy=f"at least {len(splits.NAMES)} are needed: loosen the thresholds of these rules under `cleaning:` "
        "or give other sources",
    )


def _learn_paragraphs(kept_aside: Path, survivors: Survivors, config: CleaningConfig) -> Paragraphs:
    """Who owns which paragraph, among the documents that stay."""
    paragraphs = Paragraphs(config.paragraph_words)
    rows = enumerate(tables.iterate(kept_aside, ["id", "text"]))
    paragraphs.learn((row["id"], row["text"]) for place, row in rows if place not in survivors.findings)
    return paragraphs


def _settle(
    kept_aside: Path,
    survivors: Survivors,
    chosen: list[str],
    ledger: Ledger,
    paragraphs: Paragraphs,
    config: CleaningConfig,
) -> Iterator[dict[str, Any]]:
    """Second pass: yield the rows that stay with their split, and enter all of them in the books."""
    for place, row in enumerate(tables.iterate(kept_aside)):
        position = row.pop("position")
        if finding := survivors.findings.get(place):
            ledger.drop(DOCUMENTS, position, row, finding, row["text"])
            continue
        whole = row["text"]
        ledger.change(DOCUMENTS, row, _thin(row, paragraphs))
        if row["words"] < config.rules.minimum_words(row["domain"]):
            reason = f"{row['words']} words are left without the paragraphs of other documents"
            ledger.drop(DOCUMENTS, position, row, Finding("repeated-paragraphs", reason, row["words"]), whole)
            continue
        row["split"] = chosen[place]
        ledger.keep(DOCUMENTS, row, row["bytes"], row["words"])
        yield row


def _thin(row: dict[str, Any], paragraphs: Paragraphs) -> list[Change]:
    """Take out of a row what other documents say in the same words."""
    before, removed = row["bytes"], paragraphs.removed[row["domain"]]
    text = paragraphs.thinned(row["id"], row["text"], row["domain"])
    if text == row["text"]:
        return []
    row |= {"text": text, "words": len(words(text)), "bytes": len(text.encode())}
    count = paragraphs.removed[row["domain"]] - removed
    reason = f"paragraphs of other documents removed: {count}"
    return [Change(REPEATED_PARAGRAPHS, reason, count, before, row["bytes"])]


class _Failures:
    """Counts documents whose extraction failed and stops the stage when they are too many to be accidents."""

    def __init__(self, total: int, max_ratio: float) -> None:
        self.total, self._allowed, self._count = total, max_ratio * total, 0
        self._max_ratio = max_ratio

    def add(self, raw: Mapping[str, Any], failure: Failure) -> None:
        self._count += 1
        logger.warning("extraction failed: %r %s (%s)", raw["uri"], failure.reason, failure.kind)
        if self._count > self._allowed:
            raise DataError(
                f"{self._count} of {self.total} documents could not be read, the last: {failure.reason}",
                stage="cleaning",
                where=raw["uri"],
                remedy=f"mend the source, or raise cleaning.max_bad_ratio ({self._max_ratio:g})",
            )
