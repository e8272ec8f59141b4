"""A user's own files: found by a glob, read in sorted order, and watched for changes while they are read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import zip_longest
from pathlib import Path, PurePosixPath

from tasks.errors import SourceError, UnknownError
from tasks.sources import blobs
from tasks.sources.blobs import Stored
from tasks.sources.compression import Blob, DamagedError
from tasks.sources.config import DocumentColumns, FilesSource, HttpSource
from tasks.sources.downloads import Wanted, file_name, kept
from tasks.sources.downloads import fetch as download
from tasks.sources.formats import ARCHIVES, READERS, TEXTS, TWICE, kind_of, left_out
from tasks.sources.labelled_config import ProbeFiles, SentimentFiles
from tasks.sources.labelled_config import QuestionAnsweringFiles as AnsweringFiles
from tasks.sources.labelled_config import TranslationFiles as PairFiles
from tasks.sources.outcomes import Bad, Kept, LeftOut, Outcome, Outcomes, unusable
from tasks.sources.records import Record, Records
from tasks.sources.remote_memory import Memory
from tasks.sources.unpacking_tar import tar_members
from tasks.sources.unpacking_zip import zip_members

Files = FilesSource | HttpSource | SentimentFiles | AnsweringFiles | PairFiles | ProbeFiles
Interpret = Callable[[Record, str], Outcome]
_LONG_ENOUGH = 20.0  # seconds for asking servers about versions, when nothing is to be fetched

# By path: the files that the fingerprint is made of, as they were then. Others would be filed under it.
_observed: dict[str, dict[str, object]] = {}


def find(source: Files, ask: bool = False) -> list[tuple[Stored, str]]:
    """The files a source's path matches, sorted, each with its uri; those of the web in their order.

    Args:
        source: where to look.
        ask: whether servers may be asked for newer versions than were downloaded before.

    Raises:
        SourceError: nothing matches, only folders do, or a server does not deliver.
    """
    if isinstance(source, HttpSource):
        return [(download(wanted, ask), wanted.url) for wanted in _wanted(source)]
    return blobs.find(source.path)


def digests(source: Files, fetch: bool = True) -> dict[str, str]:
    """The sha256 of every file of a source, by its uri.

    Args:
        source: where to look.
        fetch: whether files of the web and of remote stores may be fetched; else they are taken for what the last
            run fetched, as far as that can be told.

    Raises:
        SourceError: nothing matches, or a file cannot be read.
        UnknownError: ``fetch`` is not set, and a file would have to be fetched.
    """
    if isinstance(source, HttpSource) and source.sha256:
        return dict(
            zip(source.url, source.sha256, strict=True)
        )  # pinned: nothing need be fetched to know them
    found: dict[str, str] = {}
    states: dict[str, object] = {}
    memory = Memory(getattr(source, "path", ""))
    for blob, uri in find(source, ask=True) if fetch else _kept(source):
        try:
            states[uri] = blobs.state(blob) if fetch else None
            if isinstance(blob, Path):
                found[uri] = blobs.digest(blob)
            else:
                found[uri] = memory.learn(blob, uri) if fetch else memory.recall(blob, uri)
        except OSError as error:
            raise _unreadable(uri, error) from error
    if fetch:
        memory.keep()
        if not isinstance(source, HttpSource):
            _observed[source.path] = states
    return found


def _kept(source: Files) -> Iterator[tuple[Stored, str]]:
    """The files as the last run fetched them, where that can be told in a few seconds."""
    if not isinstance(source, HttpSource):
        yield from blobs.find(source.path)
        return
    started = time.monotonic()
    for wanted in _wanted(source):
        if time.monotonic() - started > _LONG_ENOUGH:
            raise UnknownError(f"{wanted.url}: asking for its version and those behind it takes too long")
        yield kept(wanted), wanted.url


def read(source: Files, interpret: Interpret, max_bytes: int) -> Outcomes:
    """Every record of a source's files, as ``interpret`` understands it, or the reason why it cannot be used.

    Raises:
        SourceError: a file is missing, unreadable as a whole, lacks a column, or changed since its digest was
            taken or while it was read.
    """
    found = find(source)
    known = {} if isinstance(source, HttpSource) else _observed.get(source.path, {})
    if known and (others := known.keys() ^ {uri for _, uri in found}):
        raise _changed(min(others))
    for blob, uri in found:
        kind = kind_of(source, blob.name, uri)
        if kind in ARCHIVES:
            outcomes = _members(source, blob, uri, interpret, max_bytes)
        else:
            outcomes = _file(source, blob, uri, interpret, max_bytes)
        yield from _watched(blob, uri, known.get(uri), _accounted(uri, outcomes))


def _wanted(source: HttpSource) -> Iterator[Wanted]:
    for url, sha256 in zip_longest(source.url, source.sha256):
        name = PurePosixPath(file_name(url))
        yield Wanted(
            url=url,
            sha256=sha256,
            refresh=source.refresh,
            allow_private=source.allow_private,
            token_env=source.token_env,
            max_bytes=source.max_bytes,
            stall=source.stall,
            page=kind_of(source, name.name, url) == "html",
        )


def interpreter(source: DocumentColumns, max_bytes: int) -> Interpret:
    """How a record of this source becomes a document."""

    def interpret(record: Record, kind: str) -> Outcome:
        text = record.fields["text" if kind in TEXTS else source.text]
        problem = unusable(text, max_bytes)
        if problem:
            return record.place.bad(*problem)
        uri = record.fields["uri"] if kind == "warc" else _uri(source, record)
        if isinstance(uri, Bad):
            return uri
        shape = record.fields["format"] if kind == "warc" else "html" if kind == "html" else "text"
        return Kept(uri, {"text": text, "format": shape}, record.place.uri)

    return interpret


def _uri(source: DocumentColumns, record: Record) -> str | Bad:
    uri = record.place.uri
    for column, pattern in ((source.id, uri.split("#")[0] + "#{}"), (source.uri, "{}")):
        if column and column in record.fields:
            value = record.fields[column]
            if (
                isinstance(value, bool | float)
                or not isinstance(value, str | int)
                or unusable(str(value), 4096)
            ):
                return record.place.bad("identifier", f"{column!r} is no identifier")
            uri = pattern.format(value)
    return uri


def _members(source: Files, blob: Blob, uri: str, interpret: Interpret, max_bytes: int) -> Outcomes:
    """Every member of an archive, read as a file of its own or told why not."""
    unpacked = {"zip": zip_members, "tar": tar_members}[kind_of(source, blob.name, uri)]
    for member in unpacked(blob, uri):
        if isinstance(member, Bad):
            yield member
            continue
        reason = left_out(source, member.name, not isinstance(source, DocumentColumns))
        if reason:
            yield reason
        else:
            yield from _accounted(member.uri, _file(source, member, member.uri, interpret, max_bytes))


def _file(source: Files, blob: Blob, uri: str, interpret: Interpret, max_bytes: int) -> Outcomes:
    kind = kind_of(source, blob.name, uri)
    if kind == TWICE:
        yield Bad(uri, uri, "format", "the file is compressed twice; decompress it once")
        return
    if kind in TEXTS and not isinstance(source, DocumentColumns):
        raise SourceError(
            f"{kind} holds no labelled rows", where=uri, remedy="use jsonl, csv, tsv or parquet"
        )
    needed = ("text",) if kind in TEXTS else _columns(source)
    yield from _interpreted(READERS[kind](blob, uri, max_bytes), kind, needed, interpret)


def _interpreted(records: Records, kind: str, needed: tuple[str, ...], interpret: Interpret) -> Outcomes:
    for record in records:
        if isinstance(record, Bad | LeftOut):
            yield record
            continue
        missing = [column for column in needed if column not in record.fields]
        if not missing:
            yield interpret(record, kind)
            continue
        if kind != "jsonl":
            raise SourceError(
                f"has no column {missing[0]!r}; its columns are {', '.join(map(str, record.fields))}",
                where=record.place.where,
                remedy="name the column in the source's configuration",
            )
        yield record.place.bad("missing-field", f"there is no field {missing[0]!r}")


def _columns(source: Files) -> tuple[str, ...]:
    match source:
        case DocumentColumns():
            return tuple(filter(None, (source.text, source.id, source.uri)))
        case SentimentFiles():
            return source.text, source.label
        case AnsweringFiles():
            return tuple(filter(None, (source.context, source.question, source.answer, source.answer_start)))
        case PairFiles():
            return source.source_text, source.target_text
        case ProbeFiles():
            return tuple(
                filter(None, (source.more, source.less, source.group, source.direction, source.kind))
            )


def _accounted(uri: str, outcomes: Outcomes) -> Outcomes:
    """Let no file pass in silence: one that cannot be read on, or that has no record, is quarantined."""
    any_record = False
    try:
        for outcome in outcomes:
            any_record = True
            yield outcome
    except DamagedError as error:
        yield Bad(uri, uri, error.rule, f"the file {error}")
        return
    if not any_record:
        yield Bad(uri, uri, "empty", "the file has no records")


def _watched(blob: Stored, uri: str, observed: object, outcomes: Outcomes) -> Outcomes:
    """Fail if the file changed between its digest and its last byte: a mixture is no version of it."""
    try:
        before = blobs.state(blob)
        if observed not in (None, before):
            raise _changed(uri)
        yield from outcomes
        after = blobs.state(blob)
    except OSError as error:
        raise _unreadable(uri, error) from error
    if after != before:
        raise _changed(uri)


def _changed(uri: str) -> SourceError:
    return SourceError("changed while it was being read", where=uri, remedy="run again when it is complete")


def _unreadable(uri: str, error: OSError) -> SourceError:
    return SourceError(f"cannot be read ({error.strerror or error})", where=uri)
