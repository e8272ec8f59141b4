"""Hugging Face datasets: by hub name, streamed or whole, or a local copy; read row by row, no code of theirs run.

A dataset of the hub is read at one commit: the one that was observed is the one that is read, also when a branch moves
in between, and nothing else that `datasets` may have in its cache takes its place when the hub does not answer.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from tasks.artifacts import sha256_of
from tasks.errors import SourceError, UnknownError, one_line
from tasks.sources.config import HuggingFaceSource
from tasks.sources.outcomes import Outcome, Outcomes, Place
from tasks.sources.records import Record

_LOG = logging.getLogger(__name__)
_COMMIT = re.compile(r"[0-9a-f]{40}")
# What could run code when it is loaded, here or by whoever opens the folder next.
_CODE = (".py", ".pkl", ".pickle", ".pt", ".pth", ".bin", ".joblib", ".npy", ".npz")
_REMEDY = "check its name, `subset`, `split` and `revision`, HF_ENDPOINT and HF_TOKEN, or give a local `path`"
_OFFLINE = "set HF_HUB_OFFLINE=0, or give a local `path`"
_SECONDS = 20.0  # of waiting for the hub to tell a version; a mere question does not wait so long
_SHORT = 5.0
# The commit that a name and a revision stood for when they were observed.
_observed: dict[tuple[str | None, str | None], str] = {}


def digests(source: HuggingFaceSource, fetch: bool = True) -> dict[str, str]:
    """What the content of a dataset hangs on: the sha256 of each local file, or the commit on the hub.

    Args:
        source: the dataset.
        fetch: whether a run is at work; else the hub is asked for the version once and shortly.

    Raises:
        SourceError: there is no such dataset, or the hub cannot be reached.
        UnknownError: ``fetch`` is not set, and the hub does not tell the version.
    """
    if source.path is None:
        if fetch:
            _observed[source.name, source.revision] = _commit(source, _SECONDS)
            return {_uri(source): _observed[source.name, source.revision]}
        try:
            return {_uri(source): _commit(source, _SHORT)}
        except SourceError as error:
            raise UnknownError(f"{error.where}: {error.problem}, so that it cannot be known") from error
    folder = _folder(source)
    return {f"{_uri(source)}/{path.relative_to(folder)}": sha256_of(path) for path in _files(folder)}


def read(source: HuggingFaceSource, interpret: Callable[[Record, str], Outcome]) -> Outcomes:
    """Every row, as ``interpret`` understands it, or the reason why it cannot be used.

    Raises:
        SourceError: the dataset cannot be loaded or lacks a column.
    """
    needed = [column for column in (source.text, source.id, source.uri) if column]
    for record in _records(source):
        missing = [column for column in needed if column not in record.fields]
        if missing:
            raise SourceError(
                f"has no column {missing[0]!r}; its columns are {', '.join(map(str, record.fields))}",
                where=_uri(source),
                remedy="name the column in the source's configuration",
            )
        yield interpret(record, "huggingface")


def _records(source: HuggingFaceSource) -> Iterator[Record]:
    rows = _guarded(source, lambda: _rows(source))
    for number, fields in enumerate(islice(rows, source.limit), 1):
        place = Place(f"{_uri(source)}#{number}", f"{_uri(source)} row {number}")
        yield Record(place, dict(fields))


def _rows(source: HuggingFaceSource) -> Iterable[Mapping[str, Any]]:
    import datasets

    if source.path is None:
        return _rows_of_hub(source)
    folder = _folder(source)
    if not (folder / "dataset_info.json").is_file() and not (folder / "dataset_dict.json").is_file():
        # Streaming reads the files where they lie; anything else would copy them into a cache first.
        rows: Iterable[Mapping[str, Any]] = datasets.load_dataset(
            str(folder), source.subset, split=source.split, streaming=True
        )
        return rows
    saved = datasets.load_from_disk(str(folder))
    if isinstance(saved, datasets.DatasetDict):
        if source.split not in saved:
            raise ValueError(f"there is no split {source.split!r}, only {', '.join(map(str, saved))}")
        saved = saved[source.split]
    table: Iterable[Mapping[str, Any]] = saved
    return table


def _rows_of_hub(source: HuggingFaceSource) -> Iterable[Mapping[str, Any]]:
    import datasets

    commit = _observed.get((source.name, source.revision)) or _commit(source, _SECONDS)
    _LOG.info("reading %s at %s", _uri(source), commit)
    address = f"hf://datasets/{source.name}"  # a bare name could also be a folder of this machine
    builder = datasets.load_dataset_builder(address, source.subset, revision=commit)
    if builder.hash != commit:  # what `datasets` takes from its cache when the hub does not answer
        raise SourceError(
            f"the hub does not deliver commit {commit}, and what is in the cache is another",
            where=_uri(source),
            remedy=_OFFLINE if _offline() else _REMEDY,
        )
    if source.streaming:
        rows: Iterable[Mapping[str, Any]] = builder.as_streaming_dataset(split=source.split)
        return rows
    builder.download_and_prepare()
    whole: Iterable[Mapping[str, Any]] = builder.as_dataset(split=source.split)
    return whole


def _guarded(
    source: HuggingFaceSource, load: Callable[[], Iterable[Mapping[str, Any]]]
) -> Iterator[Mapping[str, Any]]:
    """Rows until one cannot be had; the library's errors are of any type, and hide their cause."""
    try:
        yield from load()
    except SourceError:
        raise
    except Exception as error:
        cause = error.__cause__ or error
        remedy = "check its files, `subset` and `split`"
        if source.path is None:
            remedy = _OFFLINE if _offline() else _REMEDY
        raise SourceError(f"cannot be loaded ({_told(cause)})", where=_uri(source), remedy=remedy) from error


def _commit(source: HuggingFaceSource, seconds: float) -> str:
    """The commit that a revision stands for now; one that is given as a commit is taken at its word.

    Raises:
        SourceError: the hub may not be asked, or does not answer in so many seconds of silence.
    """
    if source.revision and _COMMIT.fullmatch(source.revision):
        return source.revision
    from huggingface_hub import HfApi

    if _offline():
        raise SourceError(
            "the hub may not be asked for its version (HF_HUB_OFFLINE)", where=_uri(source), remedy=_OFFLINE
        )
    try:
        found = HfApi().dataset_info(
            str(source.name), revision=source.revision, timeout=seconds, expand=["sha"]
        )
    except Exception as error:
        raise SourceError(
            f"the hub does not tell its version ({_told(error)})", where=_uri(source), remedy=_REMEDY
        ) from error
    return str(found.sha)


def _offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _told(error: BaseException) -> str:
    """What an error of the library says, in its first lines: behind them are advice and addresses of pages."""
    text = str(error).split("For more information")[0]
    return one_line(f"{type(error).__name__}: {' '.join(text.split())}", 300)


def _folder(source: HuggingFaceSource) -> Path:
    folder = Path(str(source.path))
    if not folder.is_dir():
        raise SourceError("is no folder", where=str(source.path), remedy="name the dataset's folder")
    code = next((path for path in _files(folder) if path.suffix.lower() in _CODE), None)
    if code is not None:
        raise SourceError(
            f"holds {code.relative_to(folder)}, which could run code when it is loaded",
            where=folder.name,
            remedy="remove it; tables are read from arrow, parquet, json and csv",
        )
    return folder


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))


def _uri(source: HuggingFaceSource) -> str:
    parts = (source.name or Path(str(source.path)).name, source.subset, source.split)
    return "hf:" + "/".join(filter(None, parts))
