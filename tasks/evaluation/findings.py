"""What one examination hands over: numbers for people, and one row per item for later paired comparisons."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from tasks.evaluation.records import Record, rounded

# What each model made of each item. ``cluster`` names items that belong together (a context, a template):
# they are drawn together. A comparison of two models is paired by (task, metric, id).
ITEMS = pa.schema(
    [
        ("task", pa.string()),
        ("metric", pa.string()),
        ("id", pa.string()),
        ("cluster", pa.string()),
        ("model", pa.string()),
        ("value", pa.float64()),
    ]
)


@dataclass(frozen=True)
class Item:
    """One model's score at one item."""

    task: str
    metric: str
    id: str
    cluster: str
    model: str
    value: float

    def row(self) -> dict[str, Any]:
        """The item as a row of `ITEMS`."""
        return {**self.__dict__, "value": rounded(self.value)}


@dataclass
class Findings:
    """Numbers, items, and what else is to be shown (``shown``: JSON, examples of predictions for the report).

    ``tables`` are kept under their file names, for later comparisons.
    """

    records: list[Record] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)
    shown: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, pa.Table] = field(default_factory=dict)

    def add(self, records: Iterable[Record]) -> None:
        """Take more numbers."""
        self.records.extend(records)
