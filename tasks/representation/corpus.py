"""An audited corpus as its evaluation left it: the numbers, and what each document says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks import tables
from tasks.evaluation.records import ALL_DOMAINS
from tasks.representation import tallies
from tasks.representation.audit import ANYWHERE, NEAR, RATE, SUITE, WOMEN
from tasks.representation.lexicon import GENDERS
from tasks.representation.tallies import FILE, Integers

Row = Mapping[str, Any]
Floats = NDArray[np.float64]
Key = tuple[str, str, str]  # metric, condition, domain
_RECORDS = "records.parquet"


@dataclass(frozen=True)
class Corpus:
    """An audited corpus: its documents, what they say, and the numbers that were made of it."""

    counted_by: str
    ids: list[str]
    domains: NDArray[np.str_]
    words: Floats
    counts: dict[tuple[str, str], tuple[Integers, Integers]]  # as `tallies.counts_of` has them
    rows: dict[Key, Row]

    def parts(self, key: Key) -> tuple[Floats, Floats]:
        """What is above and below the line of a number, for each document."""
        metric, condition, domain = key
        if metric == RATE:
            inside = np.ones(len(self.ids)) if domain == ALL_DOMAINS else (self.domains == domain) * 1.0
            return self.of(condition) * inside, self.words * inside
        if metric == WOMEN:
            beside = tallies.ANYWHERE if condition == ANYWHERE else condition
            women, men = (self.of(group, beside) for group in GENDERS)
            return women, women + men
        return self.of(condition, metric.removeprefix(NEAR)), self.of(condition)

    def of(self, group: str, beside: str = tallies.ANYWHERE) -> Floats:
        """How often each document names a group, or names it beside something."""
        found = np.zeros(len(self.ids))
        if (group, beside) in self.counts:
            places, counts = self.counts[group, beside]
            found[places] = counts
        return found


def auditable(artifact: Path) -> bool:
    """Whether an evaluation artefact holds what a comparison needs."""
    return (artifact / FILE).is_file() and (artifact / _RECORDS).is_file()


def read(artifact: Path) -> Corpus:
    """The audit of an evaluation artefact.

    Raises:
        ArtifactError: its records or its counts by document are missing or damaged.
    """
    found = tables.read_arrow(artifact / FILE)
    records = tables.read_arrow(artifact / _RECORDS).to_pylist()
    return Corpus(
        counted_by=tallies.counted_by(found),
        ids=found["id"].to_pylist(),
        domains=np.array(found["domain"].to_pylist(), dtype=np.str_),
        words=found["words"].to_numpy().astype(np.float64),
        counts=tallies.counts_of(found),
        rows={(r["metric"], r["condition"], r["domain"]): r for r in records if r["suite"] == SUITE},
    )
