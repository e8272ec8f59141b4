"""What cleaning changed in texts that it did not drop whole: a row for each record and each rule.

The rows go to a table as they come, so that memory holds no more than counts and a few samples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from tasks import tables

EXTRACTION, STANDARDISATION, PERSONAL_DATA = "extraction", "standardisation", "personal-data"
REFUSED_LINES, REPEATED_PARAGRAPHS = "refused-lines", "repeated-paragraphs"
_SAMPLES = 3
_PROVENANCE = ("source", "uri", "licence", "sha256")


class Change(NamedTuple):
    """What one rule did to one record; sizes are UTF-8 bytes, the value is the number behind the reason."""

    rule: str
    reason: str
    value: float
    bytes_before: int
    bytes_after: int


@dataclass
class Tally:
    """What one rule changed in one set of records."""

    records: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    domains: Counter[str] = field(default_factory=Counter)
    samples: list[dict[str, Any]] = field(default_factory=list)

    def add(self, row: Mapping[str, Any], change: Change) -> None:
        """Count one change."""
        self.records += 1
        self.bytes_before += change.bytes_before
        self.bytes_after += change.bytes_after
        self.domains[row.get("domain", "")] += 1
        if len(self.samples) < _SAMPLES:
            self.samples.append({"id": row["id"], "reason": change.reason, "value": change.value})

    def as_dict(self) -> dict[str, Any]:
        """For the report."""
        sizes = {"bytes_before": self.bytes_before, "bytes_after": self.bytes_after}
        domains = {"domains": dict(sorted(self.domains.items()))}
        return {"changed": self.records} | sizes | domains | {"samples": self.samples}


class Changes:
    """The table of changes while it is written, with its counts."""

    def __init__(self, path: Path) -> None:
        self._table = tables.Writer(path, tables.CHANGES)
        self._tallies: dict[str, dict[str, Tally]] = {}

    def __enter__(self) -> Changes:
        self._table.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._table.__exit__(kind, error, trace)

    def add(self, dataset: str, row: Mapping[str, Any], change: Change) -> None:
        """Enter one change of a record, which has an id and a provenance."""
        self._tallies.setdefault(dataset, {}).setdefault(change.rule, Tally()).add(row, change)
        provenance = {name: row[name] for name in _PROVENANCE}
        facts = {"id": row["id"], "dataset": dataset, "domain": row.get("domain", "")}
        self._table.add(facts | change._asdict() | provenance)

    def by_rule(self, dataset: str) -> dict[str, dict[str, Any]]:
        """What each rule changed in a set of records."""
        return {rule: tally.as_dict() for rule, tally in sorted(self._tallies.get(dataset, {}).items())}

    def count(self, dataset: str) -> dict[str, int]:
        """How many records of a set each rule changed."""
        return {rule: found["changed"] for rule, found in self.by_rule(dataset).items()}


def of_preparation(texts: Sequence[str], masked: Mapping[str, int]) -> list[Change]:
    """The changes of one text on its way from raw to clean.

    Args:
        texts: the text as it was received, extracted, standardised, and without personal data.
        masked: pieces of personal data replaced, by kind.
    """
    raw, extracted, standard, clean = ((text, len(text.encode("utf-8", "surrogatepass"))) for text in texts)
    found = []
    if raw[0] != extracted[0]:
        share = extracted[1] / max(1, raw[1])
        reason = f"the text in the markup, {share:.0%} of its bytes"
        found.append(Change(EXTRACTION, reason, share, raw[1], extracted[1]))
    if extracted[0] != standard[0]:
        difference = extracted[1] - standard[1]
        sign = "fewer" if difference >= 0 else "more"
        reason = f"characters, spaces or punctuation put into standard form, {abs(difference)} bytes {sign}"
        found.append(Change(STANDARDISATION, reason, difference, extracted[1], standard[1]))
    if masked:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(masked.items()))
        pieces = sum(masked.values())
        found.append(Change(PERSONAL_DATA, f"replaced: {kinds}", pieces, standard[1], clean[1]))
    return found


def together(changes: Sequence[Change]) -> list[Change]:
    """The changes of several texts of one record, added up by rule, with the reason of the first."""
    found: dict[str, Change] = {}
    for change in changes:
        former = found.get(change.rule)
        if former is None:
            found[change.rule] = change
            continue
        found[change.rule] = Change(
            change.rule,
            former.reason if former.reason == change.reason else f"{former.reason}; {change.reason}",
            former.value + change.value,
            former.bytes_before + change.bytes_before,
            former.bytes_after + change.bytes_after,
        )
    return list(found.values())
