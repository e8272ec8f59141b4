"""The ingestion stage: every source read once, each record kept, quarantined or left out, and all counted."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tasks import tables
from tasks.artifacts import Artifact
from tasks.errors import SourceError
from tasks.sources import feeds, files, hub, labelled, probes, readers, samples
from tasks.sources.config import (
    SAMPLES_LICENCE,
    FeedSource,
    FilesSource,
    HttpSource,
    HuggingFaceSource,
    IngestionConfig,
    PackageSource,
    SamplesSource,
    Source,
)
from tasks.sources.config_base import AnyFiles, AnyPackage
from tasks.sources.counts import DomainCounts, IngestionSummary, SourceCounts
from tasks.sources.labelled_config import (
    LabelledSamples,
    LabelledSource,
    ProbeFiles,
    ProbePackage,
    ProbeSamples,
    ProbeSource,
)
from tasks.sources.observation import AnySource, all_sources, of_probe, of_task
from tasks.sources.outcomes import Bad, Kept, LeftOut, Outcomes, digest
from tasks.sources.packages import fetch_all

_LOG = logging.getLogger(__name__)
# From so many bad records on, the limit is also looked at while reading: a source of garbage ends early.
_ENOUGH_BAD = 1_000
_MAIN_TEXT = {"sentiment": "text", "question-answering": "context", "translation": "source_text"}
_ID_DIGITS = 20


def ingest(inputs: Mapping[str, Artifact], config: IngestionConfig, folder: Path) -> IngestionSummary:
    """Read all sources; write documents, quarantine, labelled rows and pairs as parquet into ``folder``.

    Args:
        inputs: none; ingestion is where the data begin.
        config: the sources and how much of each may be bad.
        folder: an empty folder.

    Raises:
        SourceError: a source is missing, unreachable or gives nothing, or too much of it is bad.
    """
    reading = _Reading(config)
    documents = tables.write(folder / "documents.parquet", reading.documents(), tables.RAW_DOCUMENTS)
    rows = {
        task: tables.write(folder / "labelled" / f"{task}.parquet", reading.labelled(task), schema)
        for task, schema in tables.LABELLED.items()
    }
    pairs = {
        name: tables.write(folder / "probes" / f"{name}.parquet", reading.pairs(name), tables.PAIRS)
        for name in tables.PROBES
        if of_probe(config.probes, name)
    }
    quarantined = tables.write(folder / "quarantine.parquet", reading.quarantine, tables.QUARANTINE)
    sources = reading.counts.pop("documents")
    return IngestionSummary(
        documents=documents,
        bytes=sum(counts.bytes for counts in sources.values()),
        quarantined=quarantined,
        domains=dict(sorted(reading.domains.items())),
        sources=sources,
        labelled=rows,
        labelled_sources={task: reading.counts[task] for task in tables.LABELLED},
        probes=pairs,
        probe_sources={name: reading.counts[name] for name in pairs},
    )


class _Reading:
    """One pass over all sources, counting."""

    def __init__(self, config: IngestionConfig) -> None:
        self._config = config
        self._packages = fetch_all(
            source for _, source in all_sources(config) if isinstance(source, AnyPackage)
        )
        self.quarantine: list[dict[str, Any]] = []
        self.domains: dict[str, DomainCounts] = {}
        self.counts: dict[str, dict[str, SourceCounts]] = {}

    def documents(self) -> Iterator[dict[str, Any]]:
        """Rows of the documents table, source by source."""
        for source in self._config.sources:
            own = "" if isinstance(source, SamplesSource) else source.domain
            for kept in self._kept("documents", source, self._open(source), own):
                values = {"domain": own, **kept.values}
                counts = self.domains.setdefault(values["domain"], DomainCounts())
                counts.documents += 1
                counts.bytes += len(values["text"].encode())
                yield _row(source, kept, values, "text")

    def labelled(self, task: str) -> Iterator[dict[str, Any]]:
        """Rows of one task's table; which split they go to is decided by cleaning."""
        self.counts.setdefault(task, {})
        for source in of_task(self._config.labelled, task):
            for kept in self._kept(task, source, self._open_labelled(task, source), ""):
                yield _row(source, kept, {**kept.values, "split": ""}, _MAIN_TEXT[task])

    def pairs(self, name: str) -> Iterator[dict[str, Any]]:
        """Rows of one set of pairs."""
        for source in of_probe(self._config.probes, name):
            for kept in self._kept(name, source, self._open_probe(name, source), ""):
                yield _row(source, kept, kept.values, "more")

    def _open(self, source: Source) -> Outcomes:
        limit = self._config.max_document_bytes
        match source:
            case FilesSource() | HttpSource():
                return files.read(source, files.interpreter(source, limit), limit)
            case FeedSource():
                return feeds.read(source, limit)
            case HuggingFaceSource():
                return hub.read(source, files.interpreter(source, limit))
            case PackageSource():
                return readers.documents(source, self._packages[source.sha256], limit)
            case SamplesSource():
                return samples.documents(source)

    def _open_labelled(self, task: str, source: LabelledSource) -> Outcomes:
        limit = self._config.max_document_bytes
        if isinstance(source, LabelledSamples):
            return samples.labelled(task, source)
        if isinstance(source, AnyFiles):
            return files.read(source, labelled.interpreter(source, limit), limit)
        return labelled.rows(source, self._packages[source.sha256], limit)

    def _open_probe(self, name: str, source: ProbeSource) -> Outcomes:
        limit = self._config.max_document_bytes
        match source:
            case ProbeSamples():
                outcomes = probes.samples(name)
            case ProbeFiles():
                outcomes = files.read(source, probes.interpreter(source, limit), limit)
            case ProbePackage():
                outcomes = probes.rows(source, self._packages[source.sha256], limit)
        return probes.each_once(outcomes)

    def _kept(self, dataset: str, source: AnySource, outcomes: Outcomes, domain: str) -> Iterator[Kept]:
        """The good records of a source; the others are quarantined or counted, too many bad ones stop it."""
        counts = SourceCounts()
        reasons: Counter[str] = Counter()
        first: Bad | None = None
        started = time.monotonic()
        for outcome in outcomes:
            match outcome:
                case Kept():
                    counts.kept += 1
                    counts.bytes += _text_bytes(outcome)
                    yield outcome
                case LeftOut():
                    reasons[outcome.reason] += 1
                    counts.left_out += 1
                case Bad():
                    self._refuse_damaged(outcome)
                    first = first or outcome
                    counts.quarantined += 1
                    self.quarantine.append(_quarantined(dataset, source, outcome, domain))
                    if counts.quarantined >= _ENOUGH_BAD:
                        self._refuse_too_many(source, counts, first)
        if first is not None:
            self._refuse_too_many(source, counts, first)
        if not counts.kept:
            raise SourceError(
                f"0 records of {dataset} in source {source.title!r}"
                + (f" (the first: {first.reason})" if first else ""),
                where=first.where if first else "",
                remedy="check its path and format, or leave it out",
            )
        counts.reasons = dict(sorted(reasons.items()))
        self.counts.setdefault(dataset, {})[source.title] = counts
        _LOG.info(
            "%s from %s: %d kept, %d quarantined, %d left out, %.1f MB, %.1f s",
            *(dataset, source.title, counts.kept, counts.quarantined, counts.left_out),
            *(counts.bytes / 1e6, time.monotonic() - started),
        )

    def _refuse_damaged(self, bad: Bad) -> None:
        """Nobody knows how many records a file lost, so no share of bad records excuses it."""
        if bad.rule == "damaged" and self._config.damaged_files == "stop":
            raise SourceError(
                bad.reason,
                where=bad.where,
                remedy="fetch it again, or set ingestion.damaged_files to quarantine to use what can be read",
            )

    def _refuse_too_many(self, source: AnySource, counts: SourceCounts, first: Bad) -> None:
        records = counts.kept + counts.quarantined + counts.left_out
        limit = self._config.max_bad_ratio
        if counts.quarantined > limit * records:
            raise SourceError(
                f"{first.reason}; {counts.quarantined} of {records} records of source {source.title!r} "
                f"are bad, more than max_bad_ratio ({limit:g}) allows",
                where=first.where,
                remedy="correct them or raise max_bad_ratio",
            )


def _row(source: AnySource, kept: Kept, values: dict[str, Any], main: str) -> dict[str, Any]:
    """A row with its provenance; ``sha256`` is of its main text, ``id`` tells it from every other record."""
    text = values[main]
    return {
        "id": digest("\0".join((source.title, kept.place or kept.uri, text)))[:_ID_DIGITS],
        **values,
        "source": source.title,
        "uri": kept.uri,
        "licence": _licence(source),
        "sha256": digest(text),
    }


def _quarantined(dataset: str, source: AnySource, bad: Bad, domain: str) -> dict[str, Any]:
    return {
        "id": digest("\0".join((source.title, bad.uri, bad.rule, bad.sha256)))[:_ID_DIGITS],
        "dataset": dataset,
        "rule": bad.rule,
        "reason": bad.reason,
        "value": bad.value,
        "excerpt": bad.excerpt,
        "domain": domain,
        "source": source.title,
        "uri": bad.uri,
        "licence": _licence(source),
        "sha256": bad.sha256,
    }


def _licence(source: AnySource) -> str:
    return (
        SAMPLES_LICENCE
        if isinstance(source, SamplesSource | LabelledSamples | ProbeSamples)
        else source.licence
    )


def _text_bytes(kept: Kept) -> int:
    texts = ("text", "context", "question", "source_text", "target_text", "more", "less")
    return sum(len(kept.values[name].encode()) for name in texts if name in kept.values)
