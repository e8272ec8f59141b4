"""A user's own files: found by a glob, read in sorted order, and watched for changes while they are read."""

from __future__ import annotations

import glob
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from tasks.errors import SourceError
from tasks.sources.compression import DamagedError, inner
from tasks.sources.config import FilesSource, ProbeFiles, SentimentFiles
from tasks.sources.config import QuestionAnsweringFiles as AnsweringFiles
from tasks.sources.config import TranslationFiles as PairFiles
from tasks.sources.config_base import split_glob
from tasks.sources.outcomes import Bad, Kept, Outcome, Outcomes, unusable
from tasks.sources.records import Reader, Record, json_lines, parquet, separated, whole_text

Files = FilesSource | SentimentFiles | AnsweringFiles | PairFiles | ProbeFiles
Interpret = Callable[[Record, str], Outcome]
_READERS: dict[str, Reader] = {
    "txt": whole_text,
    "md": whole_text,
    "html": whole_text,
    "jsonl": json_lines,
    "csv": separated(","),
    "tsv": separated("\t"),
    "parquet": parquet,
}
_SUFFIXES = {
    ".txt": "txt",
    ".text": "txt",
    ".md": "md",
    ".markdown": "md",
    ".html": "html",
    ".htm": "html",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
_WHOLE = ("txt", "md", "html")


def find(source: Files) -> list[tuple[Path, str]]:
    """The regular files a source's glob matches, sorted, each with its uri.

    The uri starts at the glob's last fixed folder, so that it says enough and nothing about the machine.

    Raises:
        SourceError: nothing matches, or only folders do.
    """
    fixed, pattern = split_glob(source.path)
    matches = sorted(glob.glob(str(fixed / pattern), recursive=True))  # noqa: PTH207 (Path.glob in 3.11 follows no links)
    files = [Path(match) for match in matches if _is_regular(Path(match))]
    if files:
        return [(path, f"file:{_shown(path, fixed)}") for path in files]
    if matches:
        name = _shown(Path(matches[0]), fixed)
        raise SourceError(
            "is a folder, not a file",
            where=source.path,
            remedy=f"name the files in it, such as {name}/**/*.txt",
        )
    raise SourceError(
        "matches no file", where=source.path, remedy="check the path, and where it is taken from"
    )


def read(source: Files, interpret: Interpret, max_bytes: int) -> Outcomes:
    """Every record of a source's files, as ``interpret`` understands it, or the reason why it cannot be used.

    Raises:
        SourceError: a file is missing, unreadable as a whole, lacks a column, or changed while it was read.
    """
    columns = _columns(source)
    for path, uri in find(source):
        kind = _format(source, path, uri)
        if kind in _WHOLE and not isinstance(source, FilesSource):
            raise SourceError(
                f"{kind} holds no labelled rows", where=uri, remedy="use jsonl, csv, tsv or parquet"
            )
        needed = ("text",) if kind in _WHOLE else columns
        yield from _watched(
            path, uri, _interpreted(_READERS[kind](path, uri, max_bytes), kind, needed, interpret)
        )


def interpreter(source: FilesSource, max_bytes: int) -> Interpret:
    """How a record of this source becomes a document."""

    def interpret(record: Record, kind: str) -> Outcome:
        text = record.fields["text" if kind in _WHOLE else source.text]
        problem = unusable(text, max_bytes)
        if problem:
            return record.place.bad(*problem)
        uri = _uri(source, record)
        if isinstance(uri, Bad):
            return uri
        return Kept(uri, {"text": text, "format": "html" if kind == "html" else "text"}, record.place.uri)

    return interpret


def _uri(source: FilesSource, record: Record) -> str | Bad:
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


def _interpreted(
    records: Iterator[Record | Bad], kind: str, needed: tuple[str, ...], interpret: Interpret
) -> Outcomes:
    for record in records:
        if isinstance(record, Bad):
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
        case FilesSource():
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


def _format(source: Files, path: Path, uri: str) -> str:
    if source.format != "auto":
        return source.format
    kind = _SUFFIXES.get(inner(path).suffix.lower())
    if kind is None:
        raise SourceError(
            f"{inner(path).suffix or 'a name without suffix'} does not tell the format",
            where=uri,
            remedy=f"set `format` to one of {', '.join(_READERS)}, or convert the file",
        )
    return kind


def _watched(path: Path, uri: str, outcomes: Outcomes) -> Outcomes:
    """Fail if the file changed between its first byte and its last: a mixture is no version of it."""
    before, any_record = _state(path), False
    try:
        for outcome in outcomes:
            any_record = True
            yield outcome
    except DamagedError as error:
        any_record = True
        yield Bad(uri, uri, error.rule, f"the file {error}")
    except OSError as error:
        raise SourceError(f"cannot be read ({error.strerror or error})", where=uri) from error
    if _state(path) != before:
        raise SourceError(
            "changed while it was being read", where=uri, remedy="run again when it is complete"
        )
    if not any_record:
        yield Bad(uri, uri, "empty", "the file has no records")


def _state(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ino


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError as error:
        raise SourceError(f"cannot be read ({error.strerror})", where=path.name) from error


def _shown(path: Path, fixed: Path) -> str:
    """The path as tables tell it; bytes of a name that are no UTF-8 become visible escapes."""
    shown = (Path(fixed.name) / path.relative_to(fixed)).as_posix()
    return shown.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
