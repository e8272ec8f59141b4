"""Bits per byte, document by document, with every token scored exactly once.

Bits per byte compares models with different vocabularies: the total -log2 p of a document's tokens over the
UTF-8 bytes of its text. The separator that opens a document is context and never scored.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from models.linear_cross_entropy import output_head, token_losses
from models.shards import TokenShard
from models.transformer import LanguageModel

TOKENS_PER_BATCH = 8192


@dataclass(frozen=True)
class DocumentScores:
    """What a model makes of each document; arrays have one entry per document."""

    ids: tuple[str, ...]
    nats: NDArray[np.float64]  # total -ln p
    tokens: NDArray[np.int64]  # scored, that is without the separator
    bytes: NDArray[np.int64]
    context_length: int
    stride: int  # how far windows lie apart; below context_length they overlap

    @property
    def nats_per_token(self) -> float:
        """Mean loss over all documents; NaN without tokens."""
        return float(self.nats.sum() / self.tokens.sum()) if self.tokens.sum() else math.nan

    @property
    def bits_per_byte(self) -> float:
        """Total bits over total bytes; NaN without bytes."""
        return float(self.nats.sum() / math.log(2.0) / self.bytes.sum()) if self.bytes.sum() else math.nan


class _Window(NamedTuple):
    document: int  # place among the scored documents
    start: int  # offset of the first input
    inputs: int
    scored: int  # how many of the last targets are new


def evaluate_documents(
    model: LanguageModel,
    shard: TokenShard,
    *,
    context_length: int,
    documents: Sequence[int] | None = None,
    stride: int | None = None,
    precision: torch.dtype = torch.float32,
) -> DocumentScores:
    """Score documents of `shard` (all, or the rows named by `documents`).

    A document longer than `context_length` is read in windows that lie `stride` apart: equal to
    `context_length` (the default) they do not overlap; a smaller one gives each token at least
    `context_length - stride` tokens of context, at a higher cost. The result names both. `precision` below
    float32 turns autocast on.

    Raises:
        ValueError: `stride` outside 1 to `context_length`, or a context longer than the model's.

    """
    stride = context_length if stride is None else stride
    if not 1 <= stride <= context_length:
        raise ValueError(f"stride ({stride}) must be between 1 and context_length ({context_length})")
    if context_length > model.config.max_position_embeddings:
        limit = model.config.max_position_embeddings
        raise ValueError(f"context_length ({context_length}) exceeds the model's {limit}")
    table = shard.documents
    rows = np.arange(len(table)) if documents is None else np.asarray(documents, dtype=np.int64)
    windows = [
        window
        for place, row in enumerate(rows)
        for window in _windows(place, int(table.starts[row]), int(table.ends[row]), context_length, stride)
    ]
    nats = np.zeros(len(rows), dtype=np.float64)
    with _reading(model, precision):
        for group in _similar_lengths(windows):
            for window, loss in zip(group, _score(model, shard, group), strict=True):
                nats[window.document] += loss
    return DocumentScores(
        tuple(table.ids[row] for row in rows),
        nats,
        table.ends[rows] - table.starts[rows] - 1,
        table.bytes[rows],
        context_length,
        stride,
    )


def choose_documents(shard: TokenShard, tokens: int) -> list[int]:
    """Choose whole documents, at random but always the same, with `tokens` tokens or a little less.

    Whole, because the index knows the bytes of documents only. Documents that do not fit into what is left
    are passed
    over: one book cannot take up the whole sample, so the choice leans to shorter ones.
    """
    lengths = shard.documents.ends - shard.documents.starts
    filled = np.flatnonzero(lengths > 1)
    chosen: list[int] = []
    left = tokens
    for row in np.random.default_rng(0).permutation(filled):
        if lengths[row] <= left:
            chosen.append(int(row))
            left -= int(lengths[row])
    if not chosen and len(filled):
        chosen = [int(filled[np.argmin(lengths[filled])])]
    return sorted(chosen)


def autocast(device: torch.device, precision: torch.dtype) -> torch.autocast:
    """Matrix products in `precision`; float32 means no autocast."""
    return torch.autocast(device.type, dtype=precision, enabled=precision != torch.float32)


@contextmanager
def _reading(model: LanguageModel, precision: torch.dtype) -> Iterator[None]:
    """Inference and evaluation mode, with the model's own mode restored afterwards."""
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode(), autocast(next(model.parameters()).device, precision):
            yield
    finally:
        model.train(was_training)


def _windows(place: int, start: int, end: int, context_length: int, stride: int) -> Iterator[_Window]:
    """Cover the targets start+1 .. end-1, each as new exactly once."""
    first, done = start, start + 1  # offset of the first input; of the first target not yet scored
    while done < end:
        stop = min(first + context_length + 1, end)
        yield _Window(place, first, stop - 1 - first, stop - done)
        first, done = first + stride, stop


def _similar_lengths(windows: list[_Window]) -> Iterator[list[_Window]]:
    """Group windows for batches of about equal size, long ones first, so that little is padding."""
    ordered = sorted(windows, key=lambda window: (-window.inputs, window.start))
    start = 0
    while start < len(ordered):
        size = max(1, TOKENS_PER_BATCH // ordered[start].inputs)
        yield ordered[start : start + size]
        start += size


def _score(model: LanguageModel, shard: TokenShard, windows: list[_Window]) -> list[float]:
    device = next(model.parameters()).device
    # padding stands to the right, where causal attention cannot see it
    ids = torch.zeros((len(windows), windows[0].inputs + 1), dtype=torch.int64)
    scored = torch.zeros((len(windows), windows[0].inputs), dtype=torch.bool)
    for row, window in enumerate(windows):
        part = shard.tokens[window.start : window.start + window.inputs + 1].astype(np.int64)
        ids[row, : len(part)] = torch.from_numpy(part)
        scored[row, window.inputs - window.scored : window.inputs] = True
    ids, scored = ids.to(device), scored.to(device)
    hidden = model.model(ids[:, :-1], causal=True)
    losses = token_losses(hidden[scored], output_head(model), ids[:, 1:][scored]).double().cpu()
    rows = torch.repeat_interleave(torch.arange(len(windows)), scored.sum(1).cpu())
    totals = torch.zeros(len(windows), dtype=torch.float64).index_add_(0, rows, losses)
    return [float(total) for total in totals]
