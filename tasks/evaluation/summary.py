"""The main numbers of an evaluation, as MLflow and the manifest show them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tasks.config import Summary
from tasks.evaluation.comparison import BITS_PER_BYTE, DIFFERENCE, MASKED_LOSS
from tasks.evaluation.records import ALL_DOMAINS, Record, rounded, rounded_or_none
from tasks.evaluation.samples import REPETITION
from tasks.evaluation.subject import Subject


class Bounds(Summary):
    """A 95 % interval, which one document alone does not have."""

    low: float | None
    high: float | None


class Estimate(Bounds):
    """A number and its 95 % interval."""

    value: float


class EvaluationSummary(Summary):
    """The main numbers. ``difference`` is the model less each baseline: below zero, the model is better.

    ``bits_per_byte`` and its companions are empty for a model trained on masked words alone, ``masked_loss``
    (nats per hidden word) for one trained on the next word alone. ``scores`` holds every other number, by suite,
    metric and whose it is (a model, ``vs`` a baseline, under a condition, in a domain).
    """

    objective: str
    documents: int
    tokens: int
    bytes: int
    context_length: int
    stride: int
    ngram_train_tokens: int
    bits_per_byte: dict[str, float]
    interval: dict[str, Bounds]
    difference: dict[str, Estimate]
    by_domain: dict[str, dict[str, float]]
    masked_loss: dict[str, Estimate]
    repetition: dict[str, float]
    parameters: int
    training_tokens: int
    training_flops: float
    scores: dict[str, dict[str, dict[str, dict[str, float]]]]


def summarise(subject: Subject, records: Iterable[Record]) -> EvaluationSummary:
    """Pick the main numbers out of the records."""
    records = list(records)
    overall = [record for record in records if record.domain == ALL_DOMAINS]
    single = {record.metric: record.value for record in overall if record.suite in ("test_set", "cost")}
    difference = f"{BITS_PER_BYTE}_{DIFFERENCE}"
    return EvaluationSummary(
        objective=subject.objective,
        documents=int(single["documents"]),
        tokens=int(single["tokens"]),
        bytes=int(single["bytes"]),
        context_length=subject.context_length,
        stride=subject.stride,
        ngram_train_tokens=len(subject.training),
        bits_per_byte={r.model: rounded(r.value) for r in overall if r.metric == BITS_PER_BYTE},
        interval={r.model: _bounds(r) for r in overall if r.metric == BITS_PER_BYTE},
        difference={r.baseline: _estimate(r) for r in overall if r.metric == difference},
        by_domain=_by_domain(records),
        masked_loss={r.model: _estimate(r) for r in overall if r.metric == MASKED_LOSS},
        repetition={r.condition or r.model: rounded(r.value) for r in overall if r.metric == REPETITION},
        parameters=int(single["parameters"]),
        training_tokens=int(single["training_tokens"]),
        training_flops=single["training_flops"],
        scores=_scores(records),
    )


def _scores(records: Iterable[Record]) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """Every number with its interval and n, under names that MLflow can show."""
    found: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for record in records:
        if record.suite == "language_modelling":
            continue
        domain = "" if record.domain == ALL_DOMAINS else record.domain
        versus = f"vs_{record.baseline}" if record.baseline else ""
        whose = "/".join(part for part in (record.model, versus, record.condition, domain) if part)
        values = {"value": record.value, "low": record.low, "high": record.high, "n": float(record.n)}
        kept = {name: rounded(value) for name, value in values.items() if value is not None}
        found.setdefault(record.suite, {}).setdefault(record.metric, {})[whose or "all"] = kept
    return found


def _by_domain(records: Iterable[Record]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for record in records:
        if record.metric in (BITS_PER_BYTE, MASKED_LOSS) and record.domain != ALL_DOMAINS:
            name = record.model if record.metric == BITS_PER_BYTE else f"{MASKED_LOSS}_{record.model}"
            found.setdefault(record.domain, {})[name] = rounded(record.value)
    return found


def _bounds(record: Record) -> Bounds:
    return Bounds(low=rounded_or_none(record.low), high=rounded_or_none(record.high))


def _estimate(record: Record) -> Estimate:
    return Estimate(value=rounded(record.value), **_bounds(record).model_dump())


_HEADLINES = (
    ("sentiment", "accuracy"),
    ("sentiment", "macro_f1"),
    ("question_answering", "f1"),
    ("question_answering", "exact_match"),
    ("translation", "chrf"),
    ("translation", "bleu"),
)


def headlines(summary: Mapping[str, Any]) -> dict[str, float]:
    """The model's main numbers out of a stored summary, by which whole runs are compared in MLflow's list."""
    found = {name: summary[name].get("model") for name in (BITS_PER_BYTE, MASKED_LOSS)}
    if isinstance(found[MASKED_LOSS], Mapping):
        found[MASKED_LOSS] = found[MASKED_LOSS]["value"]
    for suite, metric in _HEADLINES:
        score = summary["scores"].get(suite, {}).get(metric, {}).get("model")
        found[f"{suite}_{metric}"] = score["value"] if score else None
    return {name: float(value) for name, value in found.items() if value is not None}
