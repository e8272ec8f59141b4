"""Tokenisation: a byte-level BPE learnt from the training split, and every split as one flat file of token ids.

Three properties hold by construction and are checked on what was written:

* nothing is lost: there is no normaliser and every byte has a token, so decoding gives back the exact text;
* data cannot speak as control: the text ``<|endoftext|>`` is encoded as ordinary characters, never as id 0;
* the tokenizer has seen training documents alone, so held-out text is as strange to it as it will be in use.

Text is cut before merging with the pattern of Qwen (the family of our architecture), which takes digits one by one.
Groups of up to three, as GPT-4 has them, would spend 1,110 entries on numbers: of a vocabulary of 100,000 that is
nothing, of ours an eighth. Byte-pair encoding: Sennrich et al. 2016; on bytes: Radford et al. 2019 (GPT-2).
"""

from __future__ import annotations

import logging
import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from tasks import tables
from tasks.artifacts import Artifact, canonical_json
from tasks.config import StageConfig, Summary
from tasks.errors import ArtifactError, DataError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

log = logging.getLogger(__name__)

SPLITS = ("train", "validation", "test")
# Their places in this tuple are their ids, in every tokenizer this project makes.
SPECIAL_TOKENS = ("<|endoftext|>", "<|pad|>", "<|mask|>", "<|sep|>")
SEPARATOR = 0
# Qwen2's pattern, letter for letter. No branch spans both "|" and letters, so no merge can spell a special token.
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SHARD_DOCUMENTS = pa.schema(
    [("id", pa.string()), ("start", pa.int64()), ("end", pa.int64()), ("bytes", pa.int64())]
)
_SMALLEST_VOCABULARY = len(SPECIAL_TOKENS) + 256
_BATCH_CHARACTERS = 1 << 18


class TokenizationConfig(StageConfig):
    """How the vocabulary is learnt."""

    vocab_size: int = Field(
        8192,
        ge=_SMALLEST_VOCABULARY,
        le=1 << 18,
        description="Most entries the vocabulary may have: special tokens, the 256 bytes, then learnt merges.",
    )
    min_frequency: int = Field(
        2, ge=1, description="How often a pair must occur in the training split to be merged."
    )
    max_token_bytes: int = Field(
        32, ge=2, le=256, description="Longest token; keeps rulers and repeated boilerplate out of the vocabulary."
    )
    verify_every: int = Field(
        10, ge=1, description="One document in so many is decoded again and compared with its text."
    )


class SplitTokens(Summary):
    """One split, as tokens. ``bytes_per_token`` leaves the separators out; None when the split has no text."""

    tokens: int
    documents: int
    bytes: int
    bytes_per_token: float | None
    longest_document: int


class TokenizationSummary(Summary):
    """What the vocabulary became and what it does to each split.

    ``vocab_size`` is smaller than ``requested_vocab_size`` when the training split has no further pair that occurs
    ``min_frequency`` times. ``unused_vocabulary`` is the share of ordinary entries that no training document uses.
    """

    vocab_size: int
    requested_vocab_size: int
    unused_vocabulary: float
    splits: dict[str, SplitTokens]


@dataclass(frozen=True)
class ShardDocuments:
    """Which document each token of a split's shard belongs to: ``[start, end)`` in tokens, separator first."""

    ids: list[str]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]

    @classmethod
    def read(cls, folder: Path, split: str) -> ShardDocuments:
        """Read ``<split>.documents.parquet`` of a tokenisation artefact.

        Raises:
            ArtifactError: the table cannot be read, or its documents leave gaps or overlap.
        """
        path = folder / f"{split}.documents.parquet"
        table = tables.read_arrow(path, ["id", "start", "end"])
        starts, ends = (table.column(name).to_numpy().astype(np.int64) for name in ("start", "end"))
        if not np.array_equal(starts, np.concatenate([[0], ends])[: len(starts)]) or (ends <= starts).any():
            raise ArtifactError("its documents do not follow one another without a gap", where=path)
        return cls(table.column("id").to_pylist(), starts, ends)

    def rows_of(self, offsets: ArrayLike) -> NDArray[np.int64]:
        """Row of the document that holds each token offset; same shape as ``offsets``.

        Raises:
            IndexError: an offset is negative or beyond the last token.
        """
        wanted = np.asarray(offsets, dtype=np.int64)
        total = int(self.ends[-1]) if len(self.ends) else 0
        if wanted.size and (wanted.min() < 0 or wanted.max() >= total):
            raise IndexError(f"token offsets must be from 0 to {total - 1}")
        return np.searchsorted(self.starts, wanted, side="right") - 1

    def ids_of(self, offsets: ArrayLike) -> list[str]:
        """Id of the document that holds each token offset."""
        return [self.ids[row] for row in np.atleast_1d(self.rows_of(offsets)).ravel()]


def tokenize(inputs: Mapping[str, Artifact], config: TokenizationConfig, folder: Path) -> TokenizationSummary:
    """Learn a tokenizer from the training split and write every split as a flat shard of ids.

    Writes ``tokenizer.json``, ``index.json`` and for each split ``<split>.bin`` (uint16, or uint32 when the vocabulary
    has more than 65,536 entries) and ``<split>.documents.parquet``. A document is its separator, then its tokens.

    Raises:
        DataError: no text in the training split, a document in no known split, or one that does not round-trip.
    """
    documents = inputs["cleaning"].file("documents.parquet")
    _check_splits(documents)
    train_tokenizer(_texts(documents, "train"), config).save(str(folder / "tokenizer.json"))
    tokenizer = load_tokenizer(folder / "tokenizer.json")
    size = tokenizer.get_vocab_size()
    if size < config.vocab_size:
        log.warning("vocabulary of %d entries, %d asked for: the text has no more pairs", size, config.vocab_size)
    dtype = np.dtype("<u2" if size <= 1 << 16 else "<u4")
    tallies = {
        split: _write_split(split, documents, tokenizer, dtype, config, folder) for split in SPLITS
    }
    summaries = {split: tally.summary() for split, tally in tallies.items()}
    index = {
        "dtype": dtype.name,
        "vocab_size": size,
        "splits": {
            split: {"tokens": made.tokens, "documents": made.documents, "bytes": made.bytes}
            for split, made in summaries.items()
        },
    }
    (folder / "index.json").write_text(canonical_json(index, indent=1), encoding="utf-8")
    unused = 1 - float((tallies["train"].usage[len(SPECIAL_TOKENS) :] > 0).mean())
    return TokenizationSummary(
        vocab_size=size,
        requested_vocab_size=config.vocab_size,
        unused_vocabulary=round(unused, 6),
        splits=summaries,
    )


def train_tokenizer(texts: Iterable[str], config: TokenizationConfig) -> Tokenizer:
    """Learn a byte-level BPE; equal texts give an equal tokenizer, whatever their order or the number of threads."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size,
        min_frequency=config.min_frequency,
        max_token_length=config.max_token_bytes,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def load_tokenizer(path: Path) -> Tokenizer:
    """Read a ``tokenizer.json`` of this project, set so that text never becomes a special token.

    The setting is not stored in the file: whoever opens it otherwise (``transformers`` does) lets the text
    ``<|endoftext|>`` end a document.

    Raises:
        ArtifactError: the file is missing, truncated, or has not our special tokens at their fixed ids.
    """
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # the Rust side raises plain Exception
        raise ArtifactError(
            f"cannot be read as a tokenizer ({error})", where=path, remedy="run again to have it rebuilt"
        ) from error
    special = {i: token.content for i, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    if special != dict(enumerate(SPECIAL_TOKENS)):
        raise ArtifactError(
            f"its special tokens are not {', '.join(SPECIAL_TOKENS)} with ids 0 to {len(SPECIAL_TOKENS) - 1}",
            where=path,
            remedy="use a tokenizer that the tokenization stage made",
        )
    tokenizer.encode_special_tokens = True
    return tokenizer


@dataclass
class _Tally:
    """What was counted while a split was written. ``usage``: how often each id occurs, separators left out."""

    usage: NDArray[np.int64]
    documents: int = 0
    bytes: int = 0
    longest: int = 0
    tokens: int = field(default=0)

    def summary(self) -> SplitTokens:
        text_tokens = self.tokens - self.documents
        return SplitTokens(
            tokens=self.tokens,
            documents=self.documents,
            bytes=self.bytes,
            bytes_per_token=round(self.bytes / text_tokens, 6) if text_tokens else None,
            longest_document=self.longest,
        )


def _check_splits(documents: Path) -> None:
    """Refuse a corpus that would lose documents silently or has nothing to learn from."""
    found = Counter(tables.read_arrow(documents, ["split"]).column("split").to_pylist())
    for split in found.keys() - set(SPLITS):
        raise DataError(
            f"{found[split]} documents have the split {split!r}", where=documents, remedy=f"use {', '.join(SPLITS)}"
        )
    if not any(_texts(documents, "train")):
        raise DataError(
            "the training split has no text", where=documents, remedy="add documents or loosen the cleaning rules"
        )


def _texts(documents: Path, split: str) -> Iterator[str]:
    return (row["text"] for row in tables.iterate(documents, ["split", "text"]) if row["split"] == split)


def _write_split(
    split: str,
    documents: Path,
    tokenizer: Tokenizer,
    dtype: np.dtype[Any],
    config: TokenizationConfig,
    folder: Path,
) -> _Tally:
    """Write one split's shard and its table of documents, holding a few batches in memory at a time."""
    tally = _Tally(np.zeros(tokenizer.get_vocab_size(), dtype=np.int64))
    rows = (row for row in tables.iterate(documents, ["id", "split", "text"]) if row["split"] == split)
    with (folder / f"{split}.bin").open("wb") as shard:
        encoded = _verified(_encoded(rows, tokenizer), tokenizer, config.verify_every)
        records = _append(encoded, shard, dtype, tally)
        tables.write(folder / f"{split}.documents.parquet", records, SHARD_DOCUMENTS)
    log.info("%s: %d documents, %d tokens", split, tally.documents, tally.tokens)
    return tally


def _append(
    encoded: Iterable[tuple[dict[str, Any], NDArray[np.int64]]], shard: BinaryIO, dtype: np.dtype[Any], tally: _Tally
) -> Iterator[dict[str, Any]]:
    for row, ids in encoded:
        start, size = tally.tokens, len(row["text"].encode())
        shard.write(np.concatenate([[SEPARATOR], ids]).astype(dtype).tobytes())
        tally.usage += np.bincount(ids, minlength=len(tally.usage))
        tally.documents += 1
        tally.bytes += size
        tally.tokens += 1 + len(ids)
        tally.longest = max(tally.longest, 1 + len(ids))
        yield {"id": row["id"], "start": start, "end": tally.tokens, "bytes": size}


def _verified(
    encoded: Iterable[tuple[dict[str, Any], NDArray[np.int64]]], tokenizer: Tokenizer, every: int
) -> Iterator[tuple[dict[str, Any], NDArray[np.int64]]]:
    """Check every id against the vocabulary, and one document in ``every`` by decoding it."""
    size = tokenizer.get_vocab_size()
    for number, (row, ids) in enumerate(encoded):
        if len(ids) and not (len(SPECIAL_TOKENS) <= ids.min() and ids.max() < size):
            raise DataError(f"document {row['id']!r} has an id that no text may have", stage="tokenization")
        if number % every == 0 and tokenizer.decode(ids.tolist(), skip_special_tokens=False) != row["text"]:
            raise DataError(f"document {row['id']!r} is not the same text after decoding", stage="tokenization")
        yield row, ids


def _encoded(
    rows: Iterable[dict[str, Any]], tokenizer: Tokenizer
) -> Iterator[tuple[dict[str, Any], NDArray[np.int64]]]:
    """Each row with its ids, in order.

    Threads of our own, because the library's come from a pool that does not survive the fork of a data loader
    and are therefore off (TOKENIZERS_PARALLELISM); encoding leaves the interpreter's lock.
    """
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    pending: deque[Future[list[tuple[dict[str, Any], NDArray[np.int64]]]]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="encode") as pool:
        for batch in _batches(rows):
            pending.append(pool.submit(_encode, batch, tokenizer))
            if len(pending) > workers:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()


def _encode(
    batch: list[dict[str, Any]], tokenizer: Tokenizer
) -> list[tuple[dict[str, Any], NDArray[np.int64]]]:
    encodings = tokenizer.encode_batch_fast([row["text"] for row in batch], add_special_tokens=False)
    return [(row, np.array(made.ids, dtype=np.int64)) for row, made in zip(batch, encodings, strict=True)]


def _batches(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    characters = 0
    for row in rows:
        batch.append(row)
        characters += len(row["text"])
        if characters >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
