"""The result record: one row for every number, with its interval and what it was measured on.

Long format, so that a new measure is a new row and never a new column. ``baseline`` names what a difference
is taken against, ``condition`` the setting a number holds for; ``low`` and ``high`` bound the 95 % interval
and are null where there is none, which ``method`` explains.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

RECORDS = pa.schema(
    [
        ("suite", pa.string()),
        ("metric", pa.string()),
        ("model", pa.string()),
        ("baseline", pa.string()),
        ("condition", pa.string()),
        ("domain", pa.string()),
        ("split", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("n", pa.int64()),
        ("unit", pa.string()),
        ("method", pa.string()),
    ]
)
# What each model makes of each document: a later comparison with another model is paired by document.
DOCUMENTS = pa.schema(
    [
        ("id", pa.string()),
        ("domain", pa.string()),
        ("model", pa.string()),
        ("metric", pa.string()),
        ("nats", pa.float64()),
        ("predictions", pa.int64()),
        ("bytes", pa.int64()),
    ]
)
ALL_DOMAINS = "(all)"  # no domain can be called so
DIGITS = 6  # of every fraction written: beyond it lies the rounding of one machine's arithmetic


@dataclass(frozen=True)
class Record:
    """One number. ``n`` counts what was measured: documents, or samples of generated text."""

    suite: str
    metric: str
    model: str
    value: float
    n: int
    unit: str
    method: str
    baseline: str = ""
    condition: str = ""
    domain: str = ALL_DOMAINS
    split: str = "test"
    low: float | None = None
    high: float | None = None

    def row(self) -> dict[str, Any]:
        """The record as a row of `RECORDS`, fractions cut to `DIGITS`."""
        numbers = {name: rounded_or_none(getattr(self, name)) for name in ("value", "low", "high")}
        return asdict(self) | numbers


def rounded(value: float) -> float:
    """A number as it is written."""
    return round(float(value), DIGITS)


def rounded_or_none(value: float | None) -> float | None:
    """A number that may be missing, as it is written."""
    return None if value is None else rounded(value)
