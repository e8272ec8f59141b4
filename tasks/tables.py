"""Parquet tables as the stages exchange them: fixed schemas, page checksums, identical bytes on a rerun.

Arrow's readers do not notice a flipped bit unless pages carry checksums (124 of 200 single-bit flips in a
text column were read as wrong text without an error), so every table is written and read with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks import failpoints
from tasks.errors import ArtifactError

if TYPE_CHECKING:
    from datasets import Dataset

# A row group is held in memory whole; a few long documents fill one before many short ones do.
ROW_GROUP_ROWS = 2_000
ROW_GROUP_CHARACTERS = 32 << 20

_PROVENANCE = [
    ("source", pa.string()),
    ("uri", pa.string()),
    ("licence", pa.string()),
    ("sha256", pa.string()),
]
# `format` says how `text` is to be read: "text", "html" or "wikitext"; cleaning extracts the last two.
RAW_DOCUMENTS = pa.schema(
    [
        ("id", pa.string()),
        ("text", pa.string()),
        ("format", pa.string()),
        ("domain", pa.string()),
        *_PROVENANCE,
    ]
)
# `split` is "train", "validation" or "test"; `bytes` counts the UTF-8 bytes of `text`.
CLEAN_DOCUMENTS = pa.schema(
    [
        ("id", pa.string()),
        ("text", pa.string()),
        ("domain", pa.string()),
        ("language", pa.string()),
        ("split", pa.string()),
        ("words", pa.int64()),
        ("bytes", pa.int64()),
        *_PROVENANCE,
    ]
)
# One row for every record that is left out, with the rule, its reason and the number behind it.
QUARANTINE = pa.schema(
    [
        ("id", pa.string()),
        ("dataset", pa.string()),
        ("rule", pa.string()),
        ("reason", pa.string()),
        ("value", pa.float64()),
        ("excerpt", pa.string()),
        ("domain", pa.string()),
        *_PROVENANCE,
    ]
)
# One row for every record and rule that changed its text; sizes are those before and after this rule.
CHANGES = pa.schema(
    [
        ("id", pa.string()),
        ("dataset", pa.string()),
        ("rule", pa.string()),
        ("reason", pa.string()),
        ("value", pa.float64()),
        ("bytes_before", pa.int64()),
        ("bytes_after", pa.int64()),
        ("domain", pa.string()),
        *_PROVENANCE,
    ]
)
# Labelled sets. Ingestion leaves `split` empty; cleaning decides it.
SENTIMENT = pa.schema(
    [
        ("id", pa.string()),
        ("text", pa.string()),
        ("label", pa.string()),
        ("rating", pa.float64()),
        ("split", pa.string()),
        *_PROVENANCE,
    ]
)
QUESTION_ANSWERING = pa.schema(
    [
        ("id", pa.string()),
        ("context_id", pa.string()),
        ("context", pa.string()),
        ("question", pa.string()),
        ("answer", pa.string()),
        ("answer_start", pa.int64()),
        ("split", pa.string()),
        *_PROVENANCE,
    ]
)
TRANSLATION = pa.schema(
    [
        ("id", pa.string()),
        ("source_text", pa.string()),
        ("target_text", pa.string()),
        ("split", pa.string()),
        *_PROVENANCE,
    ]
)
# Pairs of sentences that differ in who they are about: `more` is the one that fits the stereotype. `group` is
# what the stereotype is about (a bias type, an occupation). `direction` is, in CrowS-Pairs, whether the pair
# shows a stereotype ("stereo") or breaks one ("antistereo"), and in WinoBias the gender that the stereotype
# gives to the occupation ("female", "male"); empty where the source does not tell. `type` is WinoBias' type.
PAIRS = pa.schema(
    [
        ("id", pa.string()),
        ("group", pa.string()),
        ("direction", pa.string()),
        ("more", pa.string()),
        ("less", pa.string()),
        ("type", pa.string()),
        *_PROVENANCE,
    ]
)
PROBES = ("crows-pairs", "winobias")
LABELLED = {
    "sentiment": SENTIMENT,
    "question-answering": QUESTION_ANSWERING,
    "translation": TRANSLATION,
}


class Writer:
    """A parquet file to which rows are added one by one, a row group of them in memory."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._path, self._schema, self._names = path, schema, set(schema.names)
        self._integers = [field.name for field in schema if pa.types.is_integer(field.type)]
        self._batch: list[dict[str, Any]] = []
        self._characters = 0
        self.count = 0

    def __enter__(self) -> Writer:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        failpoints.hit("open", self._path)
        options = {"compression": "zstd", "write_page_checksum": True, "store_schema": True}
        self._file = pq.ParquetWriter(self._path, self._schema, **options)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._flush()
        finally:
            self._file.close()
            failpoints.hit("close", self._path)

    def add(self, row: Mapping[str, Any]) -> None:
        """Add one row, which must have exactly the schema's keys.

        Raises:
            KeyError: a key is missing or surplus: a programming error, for which Arrow would silently write nulls.
            TypeError: a fraction in a column of integers, which Arrow would silently cut off.
        """
        if row.keys() != self._names:
            raise KeyError(f"{self._path.name}: row keys {sorted(row)} are not {sorted(self._schema.names)}")
        if any(isinstance(row[name], float) for name in self._integers):
            raise TypeError(f"{self._path.name}: a fraction in one of the integer columns {self._integers}")
        self._batch.append(dict(row))
        self._characters += sum(len(value) for value in row.values() if isinstance(value, str))
        if len(self._batch) == ROW_GROUP_ROWS or self._characters > ROW_GROUP_CHARACTERS:
            self._flush()

    def _flush(self) -> None:
        if self._batch:
            self._file.write_table(pa.Table.from_pylist(self._batch, schema=self._schema))
            failpoints.hit("mid-write", self._path)
            self.count += len(self._batch)
            self._batch, self._characters = [], 0


def write(path: Path, rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> int:
    """Write rows to a parquet file and return how many there were.

    Raises:
        KeyError, TypeError: as `Writer.add` does.
    """
    with Writer(path, schema) as writer:
        for row in rows:
            writer.add(row)
    return writer.count


def read_arrow(path: Path, columns: list[str] | None = None) -> pa.Table:
    """Read a table (or some of its columns) into memory, with page checksums verified.

    Raises:
        ArtifactError: the file is missing, truncated or fails its checksums.
    """
    try:
        return pq.read_table(path, columns=columns, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise ArtifactError(
            f"cannot be read as a table ({error})", where=path, remedy="delete its folder to have it rebuilt"
        ) from error


def iterate(path: Path, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """Yield rows as dictionaries, one row group in memory at a time, with page checksums verified."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            for batch in file.iter_batches(batch_size=ROW_GROUP_ROWS, columns=columns):
                yield from batch.to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise ArtifactError(
            f"cannot be read as a table ({error})", where=path, remedy="delete its folder to have it rebuilt"
        ) from error


def dataset(path: Path) -> Dataset:
    """Open a table as a Hugging Face dataset, its page checksums verified.

    Over the Arrow table itself: ``Dataset.from_parquet`` reads through an unverified copy in the user's cache.
    """
    from datasets import Dataset

    return Dataset(read_arrow(path))
