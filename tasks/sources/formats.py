"""Which format a file has, by its name or by what the source says, and who reads it."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from tasks.errors import SourceError
from tasks.sources.compression import inner, is_compressed
from tasks.sources.config_base import Readable
from tasks.sources.outcomes import LeftOut
from tasks.sources.parquet_rows import parquet
from tasks.sources.records import Reader, json_lines, separated, whole_text
from tasks.sources.warc import web_pages

READERS: dict[str, Reader] = {
    "txt": whole_text,
    "md": whole_text,
    "html": whole_text,
    "jsonl": json_lines,
    "csv": separated(","),
    "tsv": separated("\t"),
    "parquet": parquet,
    "warc": web_pages,
}
TEXTS = ("txt", "md", "html", "warc")  # their records have a text and no columns of the user's
ARCHIVES = ("zip", "tar")
TWICE = "compressed twice"
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
    ".warc": "warc",
    ".zip": "zip",
    ".tar": "tar",
}
_OTHER_ARCHIVES = (".7z", ".rar", ".cab", ".iso", ".jar", ".whl")


def kind_of(source: Readable, name: str, uri: str) -> str:
    """The format of a file: an archive's is told by its suffix, any other's by the source or the suffix.

    Raises:
        SourceError: neither tells it.
    """
    path = inner(PurePosixPath(name))
    told = path.suffix.lower()
    if is_compressed(PurePosixPath(name)) and is_compressed(path):
        return TWICE
    kind = _SUFFIXES.get(told)
    if kind in ARCHIVES:
        return str(kind)
    if source.format != "auto":
        return source.format
    if kind is None:
        raise SourceError(
            f"{told or 'a name without suffix'} does not tell the format",
            where=uri,
            remedy=f"set `format` to one of {', '.join(READERS)}, or convert the file",
        )
    return kind


def left_out(source: Readable, name: str, columns_wanted: bool) -> LeftOut | None:
    """Why a member of an archive is not read, or None.

    Without a pattern of the source's own, those are read whose suffix tells a format that fits it.
    """
    path = inner(PurePosixPath(name))
    kind = _SUFFIXES.get(path.suffix.lower())
    if source.members is not None and not fnmatchcase(name, source.members):
        return LeftOut("member of another name")
    if kind in ARCHIVES or path.suffix.lower() in _OTHER_ARCHIVES:
        return LeftOut("nested archive")
    if source.members is not None:
        return None
    if kind is None or source.format not in ("auto", kind) or (columns_wanted and kind in TEXTS):
        return LeftOut("member of another format")
    return None
