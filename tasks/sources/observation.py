"""What the configured sources hold now, told by digests: unchanged sources are not read again."""

from __future__ import annotations

from collections.abc import Iterator

from tasks import tables
from tasks.errors import UnknownError
from tasks.sources import feeds, files, hub
from tasks.sources.config import FeedSource, HuggingFaceSource, IngestionConfig, Source
from tasks.sources.config_base import Readable
from tasks.sources.labelled_config import LabelledSource, LabelledSources, ProbeSource, ProbeSources

AnySource = Source | LabelledSource | ProbeSource


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
    for dataset, source in all_sources(config):
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


def all_sources(config: IngestionConfig) -> Iterator[tuple[str, AnySource]]:
    """Every source with the table that its records go to."""
    yield from (("documents", source) for source in config.sources)
    for task in tables.LABELLED:
        yield from ((task, source) for source in of_task(config.labelled, task))
    for name in tables.PROBES:
        yield from ((name, source) for source in of_probe(config.probes, name))


def of_task(sources: LabelledSources, task: str) -> tuple[LabelledSource, ...]:
    """The sources of one task's labelled rows."""
    found: tuple[LabelledSource, ...] = getattr(sources, task.replace("-", "_"))
    return found


def of_probe(sources: ProbeSources, name: str) -> tuple[ProbeSource, ...]:
    """The sources of one set of pairs."""
    found: tuple[ProbeSource, ...] = getattr(sources, name.replace("-", "_"))
    return found
