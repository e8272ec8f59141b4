"""Token shards: a split as one flat file of ids, and the table that says which document each id is from.

``<split>.bin`` holds little-endian uint16 (uint32 for a vocabulary of more than 65,536 entries). A document
is its separator, then its tokens; documents follow one another without a gap, in the order of the cleaned
table. ``index.json`` says for each split how many tokens, documents and bytes of text it has, and the seal by
which `models.shards` knows them again.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from models.shards import INDEX, Seal
from tasks import durable, failpoints, tables
from tasks.canonical import canonical_json
from tasks.errors import DataError
from tasks.vocabulary import SEPARATOR, SPECIAL_TOKENS

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from models.shards import DocumentTable

SHARD_DOCUMENTS = pa.schema(
    [("id", pa.string()), ("start", pa.int64()), ("end", pa.int64()), ("bytes", pa.int64())]
)
_BATCH_CHARACTERS = 1 << 18

Ids = NDArray[np.int64]
Row = dict[str, Any]


def document_rows(documents: DocumentTable, offsets: ArrayLike) -> Ids:
    """Row of the document that holds each token offset; the shape is that of ``offsets``.

    Args:
        documents: ``models.shards.TokenShard(folder, split).documents``.
        offsets: places in the split's shard; a separator belongs to the document it opens.

    Raises:
        IndexError: an offset is negative or beyond the last token.
    """
    wanted = np.asarray(offsets, dtype=np.int64)
    total = int(documents.ends[-1]) if len(documents) else 0
    if wanted.size and (wanted.min() < 0 or wanted.max() >= total):
        raise IndexError(f"token offset outside the shard's {total} tokens")
    return np.asarray(np.searchsorted(documents.starts, wanted, side="right") - 1, dtype=np.int64)


@dataclass
class Tally:
    """What was counted while a shard was written; ``usage`` is how often text uses each id."""

    usage: Ids
    tokens: int = 0
    documents: int = 0
    bytes: int = 0
    longest: int = 0
    seal: Seal = field(default_factory=Seal)

    def add(self, ids: Ids, size: int) -> None:
        """Count one document of ``size`` bytes; its separator is a token of it."""
        self.usage += np.bincount(ids, minlength=len(self.usage))
        self.tokens += 1 + len(ids)
        self.documents += 1
        self.bytes += size
        self.longest = max(self.longest, 1 + len(ids))

    def entry(self, vocab_size: int) -> dict[str, int | str]:
        """What the index says of the split, to be asked once: the seal is closed."""
        counts = {"tokens": self.tokens, "documents": self.documents, "bytes": self.bytes}
        dtype = shard_dtype(vocab_size).name
        seal = self.seal.close(dtype, vocab_size, self.tokens, self.documents, self.bytes)
        return counts | {"seal": seal}


def write_index(folder: Path, vocab_size: int, tallies: Mapping[str, Tally]) -> None:
    """Write ``index.json`` once all splits are written: what `models.shards` knows them by."""
    index = {
        "dtype": shard_dtype(vocab_size).name,
        "vocab_size": vocab_size,
        "splits": {split: tally.entry(vocab_size) for split, tally in tallies.items()},
    }
    durable.write(folder / INDEX, canonical_json(index, indent=1))


def shard_dtype(vocab_size: int) -> np.dtype[Any]:
    """The smallest type of a shard that every id of the vocabulary fits in."""
    return np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")


def write_shard(
    folder: Path, split: str, rows: Iterable[Row], tokenizer: Tokenizer, verify_every: int
) -> Tally:
    """Write one split's shard and table of documents, with a few batches of text in memory at a time.

    Args:
        folder: where both files go.
        split: the split's name.
        rows: documents with ``id`` and ``text``.
        tokenizer: one of ours, from ``load_tokenizer``.
        verify_every: one document in so many is decoded and compared with its text; ids are checked in all.

    Raises:
        DataError: a document has an id outside the vocabulary's ordinary entries, or does not round-trip.
    """
    size = tokenizer.get_vocab_size()
    tally = Tally(np.zeros(size, dtype=np.int64))
    verified = _verified(_encoded(rows, tokenizer), tokenizer, verify_every)
    with durable.create(folder / f"{split}.bin") as shard:
        records = _append(verified, shard, shard_dtype(size), tally)
        tables.write(folder / f"{split}.documents.parquet", records, SHARD_DOCUMENTS)
    return tally


def _append(
    encoded: Iterable[tuple[Row, Ids]], shard: BinaryIO, dtype: np.dtype[Any], tally: Tally
) -> Iterator[Row]:
    for row, ids in encoded:
        start, size = tally.tokens, len(row["text"].encode())
        written = np.concatenate([[SEPARATOR], ids]).astype(dtype).tobytes()
        shard.write(written)
        failpoints.hit("mid-write")
        tally.seal.update(written)
        tally.add(ids, size)
        yield {"id": row["id"], "start": start, "end": tally.tokens, "bytes": size}


def _verified(
    encoded: Iterable[tuple[Row, Ids]], tokenizer: Tokenizer, every: int
) -> Iterator[tuple[Row, Ids]]:
    size = tokenizer.get_vocab_size()
    for number, (row, ids) in enumerate(encoded):
        if len(ids) and not (len(SPECIAL_TOKENS) <= ids.min() and ids.max() < size):
            raise DataError("was encoded with an id that no text may have", where=f"document {row['id']!r}")
        if number % every == 0 and tokenizer.decode(ids.tolist(), skip_special_tokens=False) != row["text"]:
            raise DataError("is not the same text after decoding", where=f"document {row['id']!r}")
        yield row, ids


def _encoded(rows: Iterable[Row], tokenizer: Tokenizer) -> Iterator[tuple[Row, Ids]]:
    """Each row with its ids, in order.

    Threads of our own: the library's belong to a pool that does not survive the fork of a data loader, and
    are therefore off (TOKENIZERS_PARALLELISM). Encoding lets go of the interpreter's lock.
    """
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    pending: deque[Future[list[tuple[Row, Ids]]]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="encode") as pool:
        for batch in _batches(rows):
            pending.append(pool.submit(_encode, batch, tokenizer))
            if len(pending) > workers:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()


def _encode(batch: list[Row], tokenizer: Tokenizer) -> list[tuple[Row, Ids]]:
    encodings = tokenizer.encode_batch_fast([row["text"] for row in batch], add_special_tokens=False)
    return [(row, np.array(made.ids, dtype=np.int64)) for row, made in zip(batch, encodings, strict=True)]


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    characters = 0
    for row in rows:
        batch.append(row)
        characters += len(row["text"])
        if characters >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
