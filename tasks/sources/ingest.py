"""The ingestion stage: every source read once, each record kept, quarantined or left out, and all counted."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from tasks import tables
from tasks.artifacts import Artifact
from tasks.config import Summary
from tasks.errors import SourceError, UnknownError
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
from tasks.sources.config_base import AnyFiles, AnyPackage, Readable
from tasks.sources.labelled_config import (
    LabelledSamples,
    LabelledSource,
    LabelledSources,
    ProbeFiles,
    ProbePackage,
    ProbeSamples,
    ProbeSource,
    ProbeSources,
)
from tasks.sources.outcomes import Bad, Kept, LeftOut, Outcomes, digest
from tasks.sources.packages import fetch_all

_LOG = logging.getLogger(__name__)
# From so many bad records on, the limit is also looked at while reading: a source of garbage ends early.
_ENOUGH_BAD = 1_000
_MAIN_TEXT = {"sentiment": "text", "question-answering": "context", "translation": "source_text"}
_ID_DIGITS = 20
AnySource = Source | LabelledSource | ProbeSource


class DomainCounts(Summary):
    """Documents of one domain and their UTF-8 bytes."""

    documents: int = 0
    bytes: int = 0


class SourceCounts(Summary):
    """What became of the records of one source; ``bytes`` are those of the kept texts.

    ``kept + quarantined + left_out`` is every record there was. ``reasons`` says why records were left out.
    """

    kept: int = 0
    bytes: int = 0
    quarantined: int = 0
    left_out: int = 0
    reasons: dict[str, int] = Field(default_factory=dict)


class IngestionSummary(Summary):
    """Counts of the stage: documents in all, by domain and by source; labelled rows by task and source.

    ``probes`` has the sets of pairs that there are, and no entry for one that has no source.
    """

    documents: int
    bytes: int
    quarantined: int
    domains: dict[str, DomainCounts]
    sources: dict[str, SourceCounts]
    labelled: dict[str, int]
    labelled_sources: dict[str, dict[str, SourceCounts]]
    probes: dict[str, int] = Field(default_factory=dict)
    probe_sources: dict[str, dict[str, SourceCounts]] = Field(default_factory=dict)


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
        if _of_probe(config.probes, name)
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


def observe(config: IngestionConfig, fetch: bool = True) -> dict[str, str]:
    """What the fingerprint needs beyond the configuration: the sha256 of every user's file.

    Packages are pinned by their sha256 in the configuration, samples by their seed and the code.

    Args:
        config: the sources.
        fetch: whether what is not here may be fetched; else nothing is downloaded or written, and sources are taken
            for what the last run fetched.

    Raises:
        SourceError: a glob matches nothing, or a file cannot be read.
        UnknownError: ``fetch`` is not set, and would be needed; it names the first such file of each source.
    """
    found: dict[str, str] = {}
    unknown: list[str] = []
    for dataset, source in _all_sources(config):
        try:
            digests = _digests(source, fetch)
        except UnknownError as error:
            unknown.append(str(error))
            continue
        found |= {f"{dataset}/{source.title}/{uri}": digest for uri, digest in digests.items()}
    if unknown:
        raise UnknownError("; ".join(dict.fromkeys(unknown)))
    return found


def _digests(source: AnySource, fetch: bool) -> dict[str, str]:
    match source:
        case Readable():
            return files.digests(source, fetch)
        case FeedSource():
            return feeds.digests(source, fetch)
        case HuggingFaceSource():
            return hub.digests(source, fetch)
        case _:
            return {}


class _Reading:
    """One pass over all sources, counting."""

    def __init__(self, config: IngestionConfig) -> None:
        self._config = config
        self._packages = fetch_all(
            source for _, source in _all_sources(config) if isinstance(source, AnyPackage)
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
        for source in _of_task(self._config.labelled, task):
            for kept in self._kept(task, source, self._open_labelled(task, source), ""):
                yield _row(source, kept, {**kept.values, "split": ""}, _MAIN_TEXT[task])

    def pairs(self, name: str) -> Iterator[dict[str, Any]]:
        """Rows of one set of pairs."""
        for source in _of_probe(self._config.probes, name):
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


def _all_sources(config: IngestionConfig) -> Iterator[tuple[str, AnySource]]:
    yield from (("documents", source) for source in config.sources)
    for task in tables.LABELLED:
        yield from ((task, source) for source in _of_task(config.labelled, task))
    for name in tables.PROBES:
        yield from ((name, source) for source in _of_probe(config.probes, name))


def _of_task(sources: LabelledSources, task: str) -> tuple[LabelledSource, ...]:
    found: tuple[LabelledSource, ...] = getattr(sources, task.replace("-", "_"))
    return found


def _of_probe(sources: ProbeSources, name: str) -> tuple[ProbeSource, ...]:
    found: tuple[ProbeSource, ...] = getattr(sources, name.replace("-", "_"))
    return found


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
