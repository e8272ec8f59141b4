"""The ingestion stage: every source read once, each record kept, quarantined or left out, and all of them counted."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import Field

from tasks import tables
from tasks.artifacts import Artifact, sha256_of
from tasks.config import Summary
from tasks.errors import SourceError, one_line
from tasks.sources import files, labelled, readers, samples
from tasks.sources.config import (
    SAMPLES_LICENCE,
    FilesSource,
    IngestionConfig,
    LabelledSamples,
    LabelledSource,
    LabelledSources,
    PackageSource,
    SamplesSource,
    Source,
    _Files,
    _Package,
)
from tasks.sources.outcomes import Bad, Kept, LeftOut, Outcomes, digest
from tasks.sources.packages import fetch_all

_LOG = logging.getLogger(__name__)
# From so many bad records on, the limit is also looked at while reading, so that a source of garbage ends early.
_ENOUGH_BAD = 1_000
_FLUSH_ROWS = 1_000
_MAIN_TEXT = {"sentiment": "text", "question-answering": "context", "translation": "source_text"}


class DomainCounts(Summary):
    """Documents of one domain and their UTF-8 bytes."""

    documents: int = 0
    bytes: int = 0


class SourceCounts(Summary):
    """What became of the records of one source: records = kept + quarantined + left_out."""

    records: int = 0
    kept: int = 0
    bytes: int = 0
    quarantined: int = 0
    left_out: int = 0
    reasons: dict[str, int] = Field(default_factory=dict)


class IngestionSummary(Summary):
    """Counts of the ingestion stage. ``labelled`` counts rows by task; ``sources`` and ``rows`` go by source."""

    documents: int
    bytes: int
    quarantined: int
    domains: dict[str, DomainCounts]
    labelled: dict[str, int]
    sources: dict[str, SourceCounts]
    rows: dict[str, dict[str, SourceCounts]]


def ingest(inputs: Mapping[str, Artifact], config: IngestionConfig, folder: Path) -> IngestionSummary:
    """Read all sources and write ``documents``, ``quarantine`` and ``labelled/<task>`` as parquet into ``folder``.

    Args:
        inputs: none; ingestion is where the data begin.
        config: the sources and how much of each may be bad.
        folder: an empty folder.

    Raises:
        SourceError: a source is missing, unreachable, gives nothing, or more than ``max_bad_ratio`` of it is bad.
    """
    packages = fetch_all(source for source in _everything(config) if isinstance(source, _Package))
    with _Quarantine(folder / "quarantine.parquet") as quarantine:
        reading = _Reading(config, packages, quarantine)
        domains: dict[str, DomainCounts] = {}
        count = tables.write(folder / "documents.parquet", reading.documents(domains), tables.RAW_DOCUMENTS)
        written = {
            task: tables.write(folder / "labelled" / f"{task}.parquet", reading.labelled(task), schema)
            for task, schema in tables.LABELLED.items()
        }
    return IngestionSummary(
        documents=count,
        bytes=sum(domain.bytes for domain in domains.values()),
        quarantined=quarantine.count,
        domains=dict(sorted(domains.items())),
        labelled=written,
        sources=reading.counts.pop("documents", {}),
        rows=reading.counts,
    )


def observe(config: IngestionConfig) -> dict[str, str]:
    """What the stage's fingerprint needs beyond its configuration: the sha256 of every user's file it would read.

    Packages are pinned by their sha256 in the configuration, samples by their seed and the code.

    Raises:
        SourceError: a glob matches nothing.
    """
    found: dict[str, str] = {}
    for dataset, source in _named(config):
        if isinstance(source, _Files):
            for path, uri in files.find(source):  # type: ignore[arg-type]
                found[f"{dataset}: {source.title}: {uri}"] = _digest_of(path, uri)
    return found


@dataclass
class _Quarantine:
    """Writes bad records as they come, so that many of them do not fill the memory."""

    path: Path
    count: int = 0
    _rows: list[dict[str, Any]] = field(default_factory=list)

    def __enter__(self) -> _Quarantine:
        self._writer = tables.Writer(self.path, tables.QUARANTINE)
        self._writer.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._writer.__exit__(*error)
