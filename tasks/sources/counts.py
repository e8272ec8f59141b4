"""What the ingestion stage tells about its work: every record of every source, kept or not."""

from __future__ import annotations

from pydantic import Field

from tasks.config import Summary


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
