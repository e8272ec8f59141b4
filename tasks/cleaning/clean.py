"""The cleaning stage: extract, standardise, apply rules, remove copies, keep exams out of the text, split."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field

from tasks import durable, tables
from tasks.artifacts import Artifact
from tasks.cleaning import documents, labelled
from tasks.cleaning.changes import Changes
from tasks.cleaning.config import CleaningConfig
from tasks.cleaning.contamination import Contamination, HeldOut
from tasks.cleaning.ledger import DOCUMENTS, Entry, Ledger
from tasks.cleaning.splits import NAMES
from tasks.cleaning.standardisation import standardise
from tasks.config import Summary

logger = logging.getLogger(__name__)


class SetSummary(Summary):
    """What became of one set of records."""

    records_in: int
    kept: int
    dropped: int
    rules: dict[str, int] = Field(description="Records removed, by rule.")
    changes: dict[str, int] = Field(description="Records whose text was changed, by rule; kept or not.")
    splits: dict[str, int] = Field(description="Records kept, by split.")


class CleaningSummary(Summary):
    """What the stage tells about its work; ``records_in`` = ``kept`` + ``dropped`` for every set."""

    documents: SetSummary
    bytes_in: int
    bytes_out: int
    words: int
    labelled: dict[str, SetSummary]
    personal_data: dict[str, dict[str, int]] = Field(
        description="Pieces replaced, by kind, and the records they stood in; by domain or labelled set."
    )
    contamination: dict[str, Contamination] = Field(description="Of each evaluation set, before removal.")


def clean(inputs: Mapping[str, Artifact], config: CleaningConfig, folder: Path) -> CleaningSummary:
    """Clean and split what ingestion left; every record is kept or quarantined with its reason.

    Writes ``documents.parquet``, ``labelled/*.parquet`` (the sets that were given), ``quarantine.parquet``,
    ``changes.parquet`` (every record and rule that changed its text) and ``filter_report.json``.
    The labelled sets come first, because the documents must not hold what these sets examine.

    Raises:
        DataError: nothing or too little is left, or too many documents cannot be read.
    """
    source = inputs["ingestion"]
    with Changes(folder / "changes.parquet") as changes:
        ledger = Ledger(changes)
        held_out = _labelled(source, config, ledger, folder)
        index = HeldOut(held_out | _probes(source), config.contamination_words)
        documents.process(source.file("documents.parquet"), index, config, ledger, folder)
    ledger.balance()
    ledger.write_quarantine(folder / "quarantine.parquet")
    report = json.dumps(ledger.report(), ensure_ascii=False, indent=1, sort_keys=True)
    durable.write(folder / "filter_report.json", report + "\n")
    return _summary(ledger, index)


def _labelled(source: Artifact, config: CleaningConfig, ledger: Ledger, folder: Path) -> dict[str, list[str]]:
    """Clean the labelled sets that there are, and return the texts on which models will be examined."""
    held_out: dict[str, list[str]] = {}
    for task in labelled.TASKS:
        name, schema = f"labelled/{task.name}.parquet", tables.LABELLED[task.name]
        received = list(tables.iterate(source.file(name)))
        if not received:  # Nobody gave such a set: there is nothing to hold to its contract.
            continue
        rows = labelled.process(task, received, config, ledger, folder)
        tables.write(folder / name, rows, schema)
        held_out[task.name] = labelled.held_out_texts(task, rows)
        logger.info("%s: %d rows kept", task.name, len(rows))
    return held_out


def _probes(source: Artifact) -> dict[str, list[str]]:
    """The sentences by which bias is measured, in their standard form like everything they are held against."""
    found = {}
    for name in tables.PROBES:
        path = source.path / "probes" / f"{name}.parquet"
        if path.is_file():
            rows = tables.iterate(source.file(f"probes/{name}.parquet"), ["more", "less"])
            found[name] = [standardise(text) for row in rows for text in row.values()]
    return found


def _summary(ledger: Ledger, held_out: HeldOut) -> CleaningSummary:
    total = ledger.total(DOCUMENTS)
    logger.info("documents: %d of %d kept", total.kept, total.records_in)
    return CleaningSummary(
        documents=_of(ledger, DOCUMENTS, total),
        bytes_in=total.bytes_in,
        bytes_out=total.bytes_out,
        words=total.words,
        labelled={task.name: _of(ledger, task.name, ledger.total(task.name)) for task in labelled.TASKS},
        personal_data=ledger.masked(),
        contamination=held_out.books(),
    )


def _of(ledger: Ledger, dataset: str, total: Entry) -> SetSummary:
    rules = ledger.dropped_by_rule(dataset)
    return SetSummary(
        records_in=total.records_in,
        kept=total.kept,
        dropped=rules.total(),
        rules=dict(sorted(rules.items())),
        changes=ledger.changes.count(dataset),
        splits={name: total.splits[name] for name in NAMES},
    )
