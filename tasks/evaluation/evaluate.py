"""The evaluation stage: bits per byte on held-out documents beside n-grams, samples, and what it all cost."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks import metric_stream, tables
from tasks.artifacts import Artifact, canonical_json, write_synced
from tasks.evaluation import baselines, masked
from tasks.evaluation.comparison import BITS_PER_BYTE, MASKED_LOSS, MODEL, Scores, compare
from tasks.evaluation.config import EvaluationConfig
from tasks.evaluation.examinations import examinations
from tasks.evaluation.facts import test_set
from tasks.evaluation.findings import ITEMS, Findings
from tasks.evaluation.records import DOCUMENTS, RECORDS
from tasks.evaluation.samples import describe, draw_samples, measure_repetition
from tasks.evaluation.subject import Subject, open_subject
from tasks.evaluation.summary import EvaluationSummary, summarise

Floats = NDArray[np.float64]
log = logging.getLogger(__name__)

WITHOUT_LIKELIHOOD = (
    "The model was trained on masked words only. It gives no probability of a text, so bits per byte do not "
    "apply and it cannot continue a prompt; it is measured by its loss at hidden words."
)


def evaluate(inputs: Mapping[str, Artifact], config: EvaluationConfig, folder: Path) -> EvaluationSummary:
    """Examine the model of ``pretraining`` on documents of ``tokenization``'s test split.

    Writes ``records.parquet`` (every number), ``documents.parquet`` and ``items.parquet`` (what each model makes
    of each document and of each item of a task), ``mentions.parquet`` (whom each training document names),
    ``samples.json`` and ``shown.json`` (examples to look at).
    Timings go to MLflow alone: a file must be the same on every rerun.

    Raises:
        DataError: the test split has no text, or a document is in no domain.
        ArtifactError: the model was trained on another tokenizer's tokens, or a file cannot be used.
        ConfigError: a prompt the model cannot take, or a stride beyond its context.
    """
    from models.execution import reproducible

    measured: dict[str, float] = {}
    with reproducible(config.threads):
        subject = open_subject(inputs, config)
        scores = list(_score(subject, config))
        samples = [] if subject.objective == "masked" else draw_samples(subject, config)
        found = dict(_timed(examinations(subject, inputs, config, measured)))
    metric_stream.log_step(0, measured)
    records = [record for each in scores for record in compare(each, config.bootstrap_samples, config.seed)]
    records += test_set(subject)
    records += [record for findings in found.values() for record in findings.records]
    records += measure_repetition(samples, subject, config) if samples else ()
    note = WITHOUT_LIKELIHOOD if subject.objective == "masked" else ""
    tables.write(folder / "records.parquet", (record.row() for record in records), RECORDS)
    tables.write(folder / "documents.parquet", (row for each in scores for row in each.rows()), DOCUMENTS)
    items = (item.row() for findings in found.values() for item in findings.items)
    tables.write(folder / "items.parquet", items, ITEMS)
    for name, table in (pair for findings in found.values() for pair in findings.tables.items()):
        tables.write(folder / name, table.to_pylist(), table.schema)
    shown = {name: findings.shown for name, findings in found.items()}
    write_synced(folder / "shown.json", canonical_json(shown, indent=1))
    described = {"note": note, **describe(samples, config)}
    write_synced(folder / "samples.json", canonical_json(described, indent=1))
    summary = summarise(subject, records)
    log.info("evaluation: bits per byte %s", summary.bits_per_byte or "do not apply")
    return summary


def _timed(found: Iterator[tuple[str, Findings]]) -> Iterator[tuple[str, Findings]]:
    """Say how long each examination took."""
    started = time.monotonic()
    for name, findings in found:
        log.info("%s: %d numbers in %.1f s", name, len(findings.records), time.monotonic() - started)
        yield name, findings
        started = time.monotonic()


def _score(subject: Subject, config: EvaluationConfig) -> Iterator[Scores]:
    """What the network and the baselines make of the test documents, as far as its objective allows."""
    if subject.objective != "masked":
        yield _likelihoods(subject, config)
    if subject.objective != "causal":
        unigram = baselines.unigram_log_probabilities(subject.training, subject.test.vocab_size)
        yield _hidden_words(subject, config, unigram)


def _likelihoods(subject: Subject, config: EvaluationConfig) -> Scores:
    from models.scoring import evaluate_documents

    found = evaluate_documents(
        subject.model,
        subject.test,
        context_length=subject.context_length,
        documents=subject.rows,
        stride=subject.stride,
        precision=subject.precision,
    )
    others = baselines.baseline_nats(subject.training, subject.test, subject.rows, config.ngram_orders)
    return Scores(
        metric=BITS_PER_BYTE,
        ids=found.ids,
        domains=subject.domains,
        nats={MODEL: found.nats, **others},
        predictions=found.tokens,
        bytes=found.bytes,
        method=f"every token once, windows of {found.context_length}, stride {found.stride}, "
        f"{_arithmetic(subject)}",
    )


def _hidden_words(subject: Subject, config: EvaluationConfig, unigram: Floats) -> Scores:
    found = masked.score_hidden_words(
        subject.model,
        subject.test,
        subject.rows,
        unigram,
        context_length=subject.context_length,
        ratio=subject.mask_ratio,
        seed=config.seed,
        precision=subject.precision,
    )
    documents = subject.test.documents
    return Scores(
        metric=MASKED_LOSS,
        ids=tuple(documents.ids[row] for row in subject.rows),
        domains=subject.domains,
        nats={MODEL: found.model, baselines.UNIGRAM: found.unigram},
        predictions=found.words,
        bytes=documents.bytes[subject.rows],
        method=f"{subject.mask_ratio:g} of the tokens hidden, windows of {subject.context_length}, "
        f"{_arithmetic(subject)}",
    )


def _arithmetic(subject: Subject) -> str:
    return str(subject.precision).removeprefix("torch.")
