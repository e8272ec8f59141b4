"""Tokenisation: a byte-level BPE learnt from the training split, and every split as a flat file of token ids.

Three properties hold by construction and are checked on what is written:

* nothing is lost: decoding gives back the exact text;
* data cannot speak as control: the text ``<|endoftext|>`` is encoded as ordinary characters, never as id 0;
* the tokenizer has seen training documents alone, so held-out text is as strange to it as it will be in use.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import Field

from tasks import tables
from tasks.artifacts import Artifact
from tasks.config import StageConfig, Summary
from tasks.errors import DataError
from tasks.token_shards import Tally, write_index, write_shard
from tasks.vocabulary import SMALLEST_VOCABULARY, SPECIAL_TOKENS, load_tokenizer, train_tokenizer

log = logging.getLogger(__name__)

SPLITS = ("train", "validation", "test")
CONTINUATION = "continuation"
# Whatever is new, so much of what was known is read again: a few documents alone would be learnt by heart.
_LEAST_REPLAY = 0.05


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


class ContinuedTokenizationConfig(TokenizationConfig):
    """How tokens are prepared for a model that goes on learning: its vocabulary stays."""

    replay: float = Field(
        default=1.0,
        ge=0.0,
        le=1000.0,
        description="Bytes of text that the champion knows, to be read again, per byte of new text.",
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

    With an input ``former``, the tokens that a champion learnt from, its tokenizer is kept, because the champion
    knows no other, and a further shard ``continuation`` holds the new training documents among some known ones.

    Raises:
        DataError: no text in the training split, a document in an unknown split, or one that does not
            round-trip.
    """
    documents = inputs["cleaning"].file("documents.parquet")
    _check_splits(documents)
    former = inputs.get("former")
    if former is None:
        trained = train_tokenizer(
            (row["text"] for row in _rows(documents, "train")),
            vocab_size=config.vocab_size,
            min_frequency=config.min_frequency,
            max_token_bytes=config.max_token_bytes,
        )
        trained.save(str(folder / "tokenizer.json"))
    else:
        shutil.copyfile(former.file("tokenizer.json"), folder / "tokenizer.json")
    # What is used from here on is the file that the others will read.
    tokenizer = load_tokenizer(folder / "tokenizer.json")
    size = tokenizer.get_vocab_size()
    if former is None and size < config.vocab_size:
        log.warning("%d vocabulary entries of %d asked for: no more pairs repeat", size, config.vocab_size)
    tallies: dict[str, Tally] = {}
    chosen = None if former is None else _continuation(documents, former, _replay(config))
    for split in SPLITS if chosen is None else (*SPLITS, CONTINUATION):
        rows = _rows(documents, split, chosen)
        tallies[split] = write_shard(folder, split, rows, tokenizer, config.verify_every)
        log.info("%s: %d documents, %d tokens", split, tallies[split].documents, tallies[split].tokens)
    write_index(folder, size, tallies)
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


def _rows(documents: Path, split: str, chosen: frozenset[str] | None = None) -> Iterator[dict[str, str]]:
    rows = tables.iterate(documents, ["id", "split", "text"])
    if split == CONTINUATION:
        return (row for row in rows if row["id"] in (chosen or ()))
    return (row for row in rows if row["split"] == split)


def _replay(config: TokenizationConfig) -> float:
    return config.replay if isinstance(config, ContinuedTokenizationConfig) else 1.0


def _continuation(documents: Path, former: Artifact, replay: float) -> frozenset[str]:
    """Ids of the training documents to go on with: all new ones, and known ones in an order set by their ids."""
    known = set(tables.read_arrow(former.file("train.documents.parquet"), ["id"]).column("id").to_pylist())
    sizes = {row["id"]: len(row["text"].encode()) for row in _rows(documents, "train")}
    new = sizes.keys() - known
    old = sorted(sizes.keys() & known, key=lambda identity: hashlib.sha256(identity.encode()).digest())
    wanted = max(replay * sum(sizes[i] for i in new), _LEAST_REPLAY * sum(sizes[i] for i in old))
    chosen, taken = set(new), 0
    for identity in old:
        if taken >= wanted and new:
            break
        chosen.add(identity)
        taken += sizes[identity]
    log.info("to go on with: %d new documents, %d known ones", len(new), len(chosen) - len(new))
    return frozenset(chosen)


def _summary(tally: Tally) -> SplitTokens:
    text_tokens = tally.tokens - tally.documents
    return SplitTokens(
        tokens=tally.tokens,
        documents=tally.documents,
        bytes=tally.bytes,
        bytes_per_token=round(tally.bytes / text_tokens, 6) if text_tokens else None,
        longest_document=tally.longest,
    )
