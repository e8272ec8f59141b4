"""Token shards on disk: flat little-endian ids, the index that describes them, and where each document lies.

A shard folder holds `<split>.bin`, `index.json` and `<split>.documents.parquet`. A document is the separator
(id 0) followed by its tokens. The ids are memory-mapped: opening a shard of any size costs no memory.

Every id is a valid one, so a damaged file would be learnt from without a word. The index therefore holds for each
split a seal over its numbers and its ids, which is compared when the shard is opened and all ids are read anyway.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

INDEX = "index.json"
SEPARATOR = 0
"""Id of `<|endoftext|>`, which opens every document and is the only context of its first token."""

_DTYPES: dict[str, np.dtype[Any]] = {"uint16": np.dtype("<u2"), "uint32": np.dtype("<u4")}
_SCAN = 1 << 24  # ids per step when a file is checked: 32 to 64 MiB at a time


class Seal:
    """SHA-256 of a split's ids and of the numbers of the index that give them their meaning."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def update(self, ids: bytes | memoryview) -> None:
        """Take the next ids, as they lie in the file."""
        self._digest.update(ids)

    def close(self, dtype: str, vocab_size: int, tokens: int, documents: int, size: int) -> str:
        """The seal, once all ids were taken; ``size`` is the UTF-8 bytes of the split's text."""
        self._digest.update(f"{dtype} {vocab_size} {tokens} {documents} {size}".encode())
        return self._digest.hexdigest()


class ShardError(ValueError):
    """A token shard that is missing, truncated, or does not hold what its index says."""


@dataclass(frozen=True)
class DocumentTable:
    """Where documents lie: row i covers `tokens[starts[i]:ends[i]]`, its separator included."""

    ids: tuple[str, ...]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    bytes: NDArray[np.int64]  # UTF-8 bytes of the text

    def __len__(self) -> int:
        return len(self.ids)


class TokenShard:
    """One split of a shard folder, checked against its index when opened."""

    def __init__(self, folder: Path, split: str) -> None:
        """Open `<folder>/<split>.bin`.

        Raises:
            ShardError: the index or the file is missing or malformed, the size differs from the index, an id
                lies outside the vocabulary (naming its offset), or the seal is broken.

        """
        self.folder, self.split = Path(folder), split
        index = _read_index(self.folder / INDEX)
        try:
            self.vocab_size = int(index["vocab_size"])
            dtype, entry = _DTYPES[index["dtype"]], index["splits"][split]
            self.length, self.bytes = int(entry["tokens"]), int(entry["bytes"])
            self._count, seal = int(entry["documents"]), str(entry["seal"])
        except (KeyError, TypeError, ValueError) as error:
            raise ShardError(
                f"{self.folder / INDEX}: no usable entry for the split {split!r} ({error!r})"
            ) from error
        self.path = self.folder / f"{split}.bin"
        self.tokens = _map(self.path, dtype, self.length)
        found = _checked(self.tokens, self.vocab_size, self.path)
        if found.close(index["dtype"], self.vocab_size, self.length, self._count, self.bytes) != seal:
            raise ShardError(
                f"{self.path}: altered after it was written, or its index was; write the shards again"
            )

    def __len__(self) -> int:
        return self.length

    @cached_property
    def documents(self) -> DocumentTable:
        """The table of documents, read once.

        Raises:
            ShardError: the table is missing, unreadable, that of other documents, or points outside the file.

        """
        path = self.folder / f"{self.split}.documents.parquet"
        table = _read_documents(path)
        if (len(table), int(table.bytes.sum())) != (self._count, self.bytes):
            raise ShardError(f"{path}: not the documents that {INDEX} counts; write the shards again")
        inside = (table.starts >= 0) & (table.starts < table.ends) & (table.ends <= self.length)
        if not bool(inside.all()):
            row = int(np.flatnonzero(~inside)[0])
            raise ShardError(f"{path}: row {row} points outside {self.path.name}; write the shards again")
        return table


def _read_index(path: Path) -> dict[str, Any]:
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ShardError(
            f"{path}: cannot be read as a shard index ({error}); write the shards again"
        ) from error
    if not isinstance(index, dict):
        raise ShardError(f"{path}: not a shard index; write the shards again")
    return index


def _map(path: Path, dtype: np.dtype[Any], length: int) -> NDArray[Any]:
    """Memory-map the ids; an empty split, which cannot be mapped, becomes an empty array."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise ShardError(f"{path}: cannot be opened ({error.strerror}); write the shards again") from error
    if size != length * dtype.itemsize:
        raise ShardError(
            f"{path}: {size} bytes where the index promises {length * dtype.itemsize}; write the shards again"
        )
    return np.memmap(path, dtype=dtype, mode="r") if length else np.empty(0, dtype)


def _checked(tokens: NDArray[Any], vocab_size: int, path: Path) -> Seal:
    """Read all ids once: none may lie outside the vocabulary; the seal over them is still open."""
    seal = Seal()
    for start in range(0, len(tokens), _SCAN):
        part = tokens[start : start + _SCAN]
        seal.update(part.data)
        if int(part.max()) >= vocab_size:
            offset = start + int(np.argmax(part >= vocab_size))
            raise ShardError(
                f"{path}: id {int(tokens[offset])} at offset {offset} is not below vocab_size {vocab_size}; "
                "the shards belong to another tokenizer"
            )
    return seal


def _read_documents(path: Path) -> DocumentTable:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, columns=["id", "start", "end", "bytes"], page_checksum_verification=True)
    except (OSError, pa.ArrowException, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise ShardError(f"{path}: cannot be read ({reason}); write the shards again") from error
    starts, ends, sizes = (table[name].to_numpy().astype(np.int64) for name in ("start", "end", "bytes"))
    return DocumentTable(tuple(table["id"].to_pylist()), starts, ends, sizes)
