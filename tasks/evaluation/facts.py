"""On how much text was measured: the same on every machine."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tasks.evaluation.records import ALL_DOMAINS, Record
from tasks.evaluation.subject import Subject


def test_set(subject: Subject) -> Iterator[Record]:
    """How much was measured, overall and by domain."""
    documents, rows = subject.test.documents, np.asarray(subject.rows)
    sizes = {
        "documents": np.ones(len(rows), dtype=np.int64),
        "tokens": documents.ends[rows] - documents.starts[rows] - 1,
        "bytes": documents.bytes[rows],
    }
    for domain in (ALL_DOMAINS, *sorted(set(subject.domains.tolist()))):
        chosen = np.ones(len(rows), bool) if domain == ALL_DOMAINS else subject.domains == domain
        for metric, size in sizes.items():
            yield Record(
                suite="test_set",
                metric=metric,
                model="",
                domain=domain,
                value=float(size[chosen].sum()),
                n=int(chosen.sum()),
                unit=metric,
                method="whole documents",
            )
