"""Tokenisation: a byte-level BPE learnt from the training split, and every split as a flat file of token ids.

Three properties hold by construction and are checked on what is written:

* nothing is lost: decoding gives back the exact text;
* data cannot speak as control: the text ``<|endoftext|>`` is encoded as ordinary characters, never as id 0;
* the tokenizer has seen training documents alone, so held-out text is as strange to it as it will be in use.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import Field

from tasks import tables
from tasks.artifacts import Artifact, canonical_json
from tasks.config import StageConfig, Summary
from tasks.errors import DataError
from tasks.token_shards import Tally, shard_dtype, write_shard
from tasks.vocabulary import SMALLEST_VOCABULARY, SPECIAL_TOKENS, load_tokenizer, train_tokenizer

log = logging.getLogger(__name__)

SPLITS = ("train", "validation", "test")


class TokenizationConfig(StageConfig):
    """How the vocabulary is learnt."""

    vocab_size: int = Field(
        default=8192,
        ge=SMALLEST_VOCABULARY,
        le=1 << 18,
        description="Most entries of the vocabulary: special tokens, the 256 bytes, then learnt merges.",
    )
    min_frequency: int = Field(
        default=2, ge=1, description="How often a pair must occur in the training split to be merged."
    )
    max_token_bytes: int = Field(
        default=32,
        ge=2,
        le=256,
        description="Longest token; keeps rulers and boilerplate out of the vocabulary.",
    )
    verify_every: int = Field(
        default=10, ge=1, description="One document in so many is decoded again and compared with its text."
    )


class SplitTokens(Summary):
    """One split as tokens, separators counted.

    ``bytes_per_token`` leaves the separators out and is None when the split has no text.
    """

    tokens: int
    documents: int
    bytes: int
    bytes_per_token: float | None
    longest_document: int


class TokenizationSummary(Summary):
    """What the vocabulary became and what it does to each split.

    ``vocab_size`` is smaller than ``requested_vocab_size`` when the training split has no further pair that
    occurs ``min_frequency`` times. ``unused_vocabulary`` is the share of ordinary entries (256 bytes and
    merges) that no training document uses.
    """

    vocab_size: int
    requested_vocab_size: int
    unused_vocabulary: float
    splits: dict[str, SplitTokens]


def tokenize(inputs: Mapping[str, Artifact], config: TokenizationConfig, folder: Path) -> TokenizationSummary:
    """Learn a tokenizer from the training split and write every split as a flat shard of ids.

    Writes ``tokenizer.json``, ``index.json`` and for each split ``<split>.bin`` and
    ``<split>.documents.parquet`` (see ``tasks.token_shards``). An empty split gives empty files.

    Raises:
        DataError: no text in the training split, a document in an unknown split, or one that does not
            round-trip.
    """
    documents = inputs["cleaning"].file("documents.parquet")
    _check_splits(documents)
    trained = train_tokenizer(
        (row["text"] for row in _rows(documents, "train")),
        vocab_size=config.vocab_size,
        min_frequency=config.min_frequency,
        max_token_bytes=config.max_token_bytes,
    )
    trained.save(str(folder / "tokenizer.json"))
    # What is used from here on is the file that the others will read.
    tokenizer = load_tokenizer(folder / "tokenizer.json")
    size = tokenizer.get_vocab_size()
    if size < config.vocab_size:
        log.warning("%d vocabulary entries of %d asked for: no more pairs repeat", size, config.vocab_size)
    tallies: dict[str, Tally] = {}
    for split in SPLITS:
        rows = _rows(documents, split)
        tallies[split] = write_shard(folder, split, rows, tokenizer, config.verify_every)
        log.info("%s: %d documents, %d tokens", split, tallies[split].documents, tallies[split].tokens)
    index = {"dtype": shard_dtype(size).name, "vocab_size": size, "splits": _index(tallies)}
    (folder / "index.json").write_text(canonical_json(index, indent=1), encoding="utf-8")
    unused = 1 - float((tallies["train"].usage[len(SPECIAL_TOKENS) :] > 0).mean())
    return TokenizationSummary(
        vocab_size=size,
        requested_vocab_size=config.vocab_size,
        unused_vocabulary=round(unused, 6),
        splits={split: _summary(tally) for split, tally in tallies.items()},
    )


def _check_splits(documents: Path) -> None:
    """Refuse a corpus that would lose documents without a word, or that has nothing to learn from."""
    found = Counter(tables.read_arrow(documents, ["split"]).column("split").to_pylist())
    unknown = [split for split in found if split not in SPLITS]
    if unknown:
        raise DataError(
            f"{found[unknown[0]]} documents have the split {unknown[0]!r}",
            where=documents,
            remedy=f"use {', '.join(SPLITS)}",
        )
    if not any(row["text"] for row in _rows(documents, "train")):
        raise DataError(
            "the training split has no text",
            where=documents,
            remedy="add documents or loosen the cleaning rules",
        )


def _rows(documents: Path, split: str) -> Iterator[dict[str, str]]:
    rows = tables.iterate(documents, ["id", "split", "text"])
    return (row for row in rows if row["split"] == split)


def _index(tallies: Mapping[str, Tally]) -> dict[str, dict[str, int]]:
    return {
        split: {"tokens": tally.tokens, "documents": tally.documents, "bytes": tally.bytes}
        for split, tally in tallies.items()
    }


def _summary(tally: Tally) -> SplitTokens:
    text_tokens = tally.tokens - tally.documents
    return SplitTokens(
        tokens=tally.tokens,
        documents=tally.documents,
        bytes=tally.bytes,
        bytes_per_token=round(tally.bytes / text_tokens, 6) if text_tokens else None,
        longest_document=tally.longest,
    )
