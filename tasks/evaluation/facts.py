"""On how much text was measured and what the model took to make: the same on every machine."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tasks.evaluation.comparison import MODEL
from tasks.evaluation.records import ALL_DOMAINS, Record
from tasks.evaluation.subject import Subject

_FLOPS_PER_PARAMETER_AND_TOKEN = 6  # Kaplan et al. 2020: 2 forward, 4 backward; attention left out


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


def cost(subject: Subject) -> Iterator[Record]:
    """What the model took to make, as far as it is the same on every machine."""
    parameters = subject.model.config.parameter_count()
    flops = float(_FLOPS_PER_PARAMETER_AND_TOKEN) * parameters * subject.training_tokens
    facts = (
        ("parameters", parameters, "parameters", "counted"),
        ("training_tokens", subject.training_tokens, "tokens", "steps x batch x context"),
        ("training_flops", flops, "FLOP", "6 x parameters x tokens, attention left out"),
    )
    for metric, value, unit, method in facts:
        yield Record("cost", metric, MODEL, value=float(value), n=1, unit=unit, method=method, split="train")
