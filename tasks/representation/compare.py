"""What changed between the audits of two corpora: every number whose difference is larger than chance makes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tasks import tables
from tasks.evaluation.clustered import Mean, difference
from tasks.representation.audit import SUITE

Row = Mapping[str, Any]
Key = tuple[str, str, str]


class Change(NamedTuple):
    """One number in the corpus before and now; ``gap`` is the difference with its 95 % interval."""

    metric: str
    condition: str
    domain: str
    before: float
    now: float
    gap: Mean


def read(artifact: Path) -> list[dict[str, Any]]:
    """The audit's rows of an evaluation artefact.

    Raises:
        ArtifactError: its records are missing or damaged.
    """
    rows: list[dict[str, Any]] = tables.read_arrow(artifact / "records.parquet").to_pylist()
    return [row for row in rows if row["suite"] == SUITE]


def compare(before: Sequence[Row], now: Sequence[Row]) -> tuple[list[Change], int]:
    """The numbers whose interval of the difference leaves out zero, and how many were compared.

    The two corpora share documents, so their errors go the same way and the interval of independent ones is too wide:
    what is told has changed, and small changes are missed.
    """
    former = {_key(row): _mean(row) for row in before}
    pairs = [(key, former[key], _mean(row)) for row in now if (key := _key(row)) in former]
    gaps = [Change(*key, old.value, new.value, difference(new, old)) for key, old, new in pairs]
    return [change for change in gaps if _clear(change.gap)], len(pairs)


def _clear(gap: Mean) -> bool:
    return gap.low is not None and gap.high is not None and (gap.low > 0 or gap.high < 0)


def _key(row: Row) -> Key:
    return row["metric"], row["condition"], row["domain"]


def _mean(row: Row) -> Mean:
    return Mean(row["value"], row["low"], row["high"], row["n"])
