"""The older ways of modelling language, measured on the same documents, tokens and bytes as the network.

``uniform`` gives every token of the vocabulary the same probability: the floor. ``unigram`` knows how
frequent tokens are. The Kneser-Ney models know the tokens just before. They are fitted on the training split,
on the same token ids, so that no token is unknown to them. They know that a document's last token is followed
by nothing and spend no probability on its end; the network spends some, which counts slightly against it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.ngram import KneserNey
from models.shards import SEPARATOR, TokenShard

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]
UNIFORM, UNIGRAM = "uniform", "unigram"


def kneser_ney(order: int) -> str:
    """What a Kneser-Ney model of this order is called in records."""
    return f"kneser_ney_{order}"


def baseline_nats(
    training: NDArray[np.int64], shard: TokenShard, rows: Sequence[int], orders: Sequence[int]
) -> dict[str, Floats]:
    """Total -ln p of each document in ``rows``, (documents,), under every baseline, best informed first."""
    tokens, starts = documents_end_to_end(shard, rows)
    scores: dict[str, Floats] = {}
    for order in sorted({1, *orders}, reverse=True):
        model = KneserNey.fit(training, order, shard.vocab_size, SEPARATOR)
        name = UNIGRAM if order == 1 else kneser_ney(order)
        # separators score 0, so the sum over a document leaves its own out
        scores[name] = -np.add.reduceat(model.log_probabilities(tokens), starts)
        log.info("%s: fitted on %s tokens", name, f"{len(training):,}")
    lengths = np.diff(np.append(starts, len(tokens))) - 1
    return scores | {UNIFORM: lengths * math.log(shard.vocab_size)}


def unigram_log_probabilities(training: NDArray[np.int64], vocab_size: int) -> Floats:
    """Natural log of each token's smoothed frequency, (V,); the separator's is -inf."""
    with np.errstate(divide="ignore"):
        logarithms: Floats = np.log(KneserNey.fit(training, 1, vocab_size, SEPARATOR).distribution([]))
    return logarithms


def training_tokens(shard: TokenShard, limit: int, seed: int) -> NDArray[np.int64]:
    """The training split, or whole documents of it in random order up to about ``limit`` tokens (0: all).

    Never less than one document, and no document is cut.
    """
    if not limit or len(shard) <= limit:
        return np.asarray(shard.tokens).astype(np.int64)
    table = shard.documents
    order = np.random.default_rng(seed).permutation(len(table))
    reached = np.cumsum((table.ends - table.starts)[order])
    chosen = np.sort(order[: max(1, int(np.searchsorted(reached, limit, side="right")))])
    return documents_end_to_end(shard, chosen.tolist())[0]


def documents_end_to_end(
    shard: TokenShard, rows: Sequence[int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The tokens of some documents in one array, each opened by its separator, and where each begins."""
    table = shard.documents
    parts = [np.asarray(shard.tokens[table.starts[row] : table.ends[row]]) for row in rows]
    lengths = np.array([len(part) for part in parts], dtype=np.int64)
    return np.concatenate(parts).astype(np.int64), np.cumsum(lengths) - lengths
