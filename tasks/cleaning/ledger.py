"""The books of the cleaning stage: every record that came in is kept or quarantined, and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks import tables
from tasks.cleaning.changes import Change, Changes
from tasks.cleaning.page import Finding
from tasks.cleaning.pii import mask
from tasks.cleaning.splits import NAMES
from tasks.errors import DataError

DOCUMENTS = "documents"
EXCERPT = 200
_SAMPLES = 3
_PROVENANCE = ("source", "uri", "licence", "sha256")


@dataclass
class Entry:
    """What is known of one domain or one labelled set."""

    records_in: int = 0
    bytes_in: int = 0
    kept: int = 0
    bytes_out: int = 0
    words: int = 0
    splits: Counter[str] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, Any]:
        """For the report: every split is named, also an empty one."""
        counts = {"in": self.records_in, "kept": self.kept, "dropped": self.records_in - self.kept}
        sizes = {"bytes_in": self.bytes_in, "bytes_out": self.bytes_out, "words": self.words}
        return counts | sizes | {"splits": {name: self.splits[name] for name in NAMES}}


class Ledger:
    """Counts what comes in, what stays, and what goes, of the documents and of each labelled set."""

    def __init__(self, changes: Changes) -> None:
        self.changes = changes
        self._ids: dict[str, dict[str, bool]] = {}
        self._entries: dict[tuple[str, str], Entry] = {}
        self._dropped: dict[str, dict[int, dict[str, Any]]] = {}
        self._dropped_bytes: Counter[tuple[str, str]] = Counter()
        self._paragraphs: dict[str, dict[str, int]] = {}
        self._lines: dict[str, Counter[str]] = {}
        self._masked: dict[str, Counter[str]] = {}
        self._masked_records: Counter[str] = Counter()

    def receive(self, dataset: str, row: Mapping[str, Any], size: int) -> None:
        """A record comes in.

        Raises:
            DataError: its id was there before; nothing could be accounted for.
        """
        ids = self._ids.setdefault(dataset, {})
        if row["id"] in ids:
            raise DataError(
                f"two {dataset} have the id {row['id']!r}",
                stage="cleaning",
                remedy="give them ids of their own",
            )
        ids[row["id"]] = False
        entry = self._entry(dataset, row)
        entry.records_in += 1
        entry.bytes_in += size

    def keep(self, dataset: str, row: Mapping[str, Any], size: int, words: int = 0) -> None:
        """A record stays; its row holds its split."""
        self._settle(dataset, row)
        entry = self._entry(dataset, row)
        entry.kept += 1
        entry.bytes_out += size
        entry.words += words
        entry.splits[row["split"]] += 1

    def drop(self, dataset: str, position: int, row: Mapping[str, Any], finding: Finding, text: str) -> None:
        """A record goes to the quarantine; ``position`` is its place in the input, and in the quarantine."""
        self._settle(dataset, row)
        self._dropped_bytes[dataset, finding.rule] += len(text.encode())
        self._dropped.setdefault(dataset, {})[position] = {
            "id": row["id"],
            "dataset": dataset,
            "rule": finding.rule,
            "reason": finding.reason,
            "value": float(finding.value),
            "excerpt": mask(text[: 2 * EXCERPT]).text[:EXCERPT],
            "domain": row.get("domain", ""),
            **{name: row[name] for name in _PROVENANCE},
        }

    def mask(self, dataset: str, row: Mapping[str, Any], counts: Mapping[str, int]) -> None:
        """Personal data were replaced in a record, whether it stays or not."""
        domain = row.get("domain") or dataset
        if counts:
            self._masked.setdefault(domain, Counter()).update(counts)
            self._masked_records[domain] += 1

    def change(self, dataset: str, row: Mapping[str, Any], changes: Iterable[Change]) -> None:
        """The text of a record was changed, whether it stays or not.

        Raises:
            DataError: no such record came in.
        """
        if row["id"] not in self._ids.get(dataset, {}):
            raise DataError(
                f"{dataset} {row['id']!r} was changed and never received",
                stage="cleaning",
                remedy="this is a bug; report it",
            )
        for change in changes:
            self.changes.add(dataset, row, change)

    def masked(self) -> dict[str, dict[str, int]]:
        """Pieces of personal data replaced, by kind, and records they stood in, by domain or labelled set."""
        return {
            domain: {"records": self._masked_records[domain], **dict(sorted(kinds.items()))}
            for domain, kinds in sorted(self._masked.items())
        }

    def note_paragraphs(self, removed: Mapping[str, int], removed_bytes: Mapping[str, int]) -> None:
        """Paragraphs that were taken out of documents that stay, by domain."""
        self._paragraphs = {
            domain: {"removed": removed[domain], "bytes": removed_bytes[domain]} for domain in sorted(removed)
        }

    def note_lines(self, domain: str, removed: Mapping[str, int], size: int) -> None:
        """Lines were taken out of a document, whether it stays or not: how many by rule, and their bytes."""
        self._lines.setdefault(domain, Counter()).update({"documents": 1, "bytes": size} | dict(removed))

    def dropped_by_rule(self, dataset: str) -> Counter[str]:
        """How many records of a set each rule removed."""
        return Counter(row["rule"] for row in self._dropped.get(dataset, {}).values())

    def total(self, dataset: str) -> Entry:
        """All domains of a set together."""
        total = Entry()
        for (name, _), entry in self._entries.items():
            if name == dataset:
                total.records_in += entry.records_in
                total.bytes_in += entry.bytes_in
                total.kept += entry.kept
                total.bytes_out += entry.bytes_out
                total.words += entry.words
                total.splits += entry.splits
        return total

    def balance(self) -> None:
        """Close the books.

        Raises:
            DataError: a record that came in was neither kept nor quarantined.
        """
        for dataset, ids in self._ids.items():
            if lost := [key for key, settled in ids.items() if not settled]:
                raise DataError(
                    f"{len(lost)} of {len(ids)} {dataset} neither kept nor quarantined, first {lost[0]!r}",
                    stage="cleaning",
                    remedy="this is a bug; report it",
                )

    def write_quarantine(self, path: Path) -> int:
        """Write what was left out, documents first, each set in the order of the input; return how many."""
        return tables.write(path, self._quarantine(), tables.QUARANTINE)

    def report(self) -> dict[str, Any]:
        """Counts by rule, by domain and by labelled set, with a few excerpts of what each rule removed."""
        domains = {
            key: entry.as_dict() for (name, key), entry in sorted(self._entries.items()) if name == DOCUMENTS
        }
        labelled = sorted({name for name in self._ids if name != DOCUMENTS})
        return {
            "documents": self.total(DOCUMENTS).as_dict(),
            "domains": domains,
            "rules": self._rules(DOCUMENTS),
            "repeated_paragraphs": self._paragraphs,
            "refused_lines": {
                domain: dict(sorted(found.items())) for domain, found in sorted(self._lines.items())
            },
            "changes": self.changes.by_rule(DOCUMENTS),
            "personal_data": self.masked(),
            "labelled": {
                name: self.total(name).as_dict()
                | {"rules": self._rules(name), "changes": self.changes.by_rule(name)}
                for name in labelled
            },
        }

    def _quarantine(self) -> Iterator[dict[str, Any]]:
        for dataset in sorted(self._dropped, key=lambda name: (name != DOCUMENTS, name)):
            yield from (row for _, row in sorted(self._dropped[dataset].items()))

    def _rules(self, dataset: str) -> dict[str, Any]:
        rows = [row for _, row in sorted(self._dropped.get(dataset, {}).items())]
        return {
            rule: {
                "dropped": count,
                "bytes": self._dropped_bytes[dataset, rule],
                "domains": dict(
                    sorted(Counter(row["domain"] for row in rows if row["rule"] == rule).items())
                ),
                "samples": [_sample(row) for row in rows if row["rule"] == rule][:_SAMPLES],
            }
            for rule, count in sorted(self.dropped_by_rule(dataset).items())
        }

    def _entry(self, dataset: str, row: Mapping[str, Any]) -> Entry:
        return self._entries.setdefault((dataset, row.get("domain", "")), Entry())

    def _settle(self, dataset: str, row: Mapping[str, Any]) -> None:
        ids = self._ids[dataset]
        if ids[row["id"]]:
            raise DataError(
                f"{dataset} {row['id']!r} is settled twice",
                stage="cleaning",
                remedy="this is a bug; report it",
            )
        ids[row["id"]] = True


def _sample(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("id", "reason", "value", "excerpt")}
