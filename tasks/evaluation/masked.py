"""How well hidden words are guessed: what a model trained on masked words can be measured by.

Such a model gives no probability of a text, so it has no bits per byte. What it has is the loss at hidden
words. The words hidden are a function of the seed, the document and the place, the same for every model, and
the unigram that is measured beside it sees the same places: how far the network lies below it is what context
taught it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

    from models.shards import TokenShard
    from models.transformer import LanguageModel

Floats = NDArray[np.float64]
_STREAM = 0x68696465  # keeps these draws apart from those of training
_TOKENS_PER_BATCH = 8192


class HiddenWords(NamedTuple):
    """Totals for each document: (documents,) arrays."""

    model: Floats  # total -ln p of the hidden words under the network
    unigram: Floats  # and by their frequency alone
    words: NDArray[np.int64]  # how many words were hidden; 0 for a document of one token


class _Window(NamedTuple):
    document: int  # place among the scored documents
    row: int  # row in the shard's table
    start: int  # offset of the first token
    length: int


def score_hidden_words(
    model: LanguageModel,
    shard: TokenShard,
    rows: Sequence[int],
    unigram: Floats,
    *,
    context_length: int,
    ratio: float,
    seed: int,
    precision: torch.dtype,
) -> HiddenWords:
    """Hide a share of every document's words, ask for them, and add up what the answers cost.

    Documents are read in windows of ``context_length`` tokens that do not overlap. The first token of a
    window is never hidden, because a word is predicted from the state before it.

    Args:
        model: a network with a mask token.
        shard: the split to read.
        rows: rows of its table of documents.
        unigram: (V,) natural logs of the tokens' frequencies.
        context_length: tokens of a window at most.
        ratio: share of a window's tokens to hide; at least one is.
        seed: decides which.
        precision: arithmetic of the network.
    """
    import torch

    from models.scoring import autocast

    totals = HiddenWords(np.zeros(len(rows)), np.zeros(len(rows)), np.zeros(len(rows), dtype=np.int64))
    device = next(model.parameters()).device
    model.eval()
    with torch.inference_mode(), autocast(device, precision):
        for batch in _batches(shard, rows, context_length):
            ids = np.stack([shard.tokens[w.start : w.start + w.length] for w in batch]).astype(np.int64)
            places = np.stack([_places(window, ratio, seed) for window in batch])
            losses = _losses(model, torch.from_numpy(ids).to(device), torch.from_numpy(places).to(device))
            documents = [window.document for window in batch]
            np.add.at(totals.model, documents, losses)
            np.add.at(totals.unigram, documents, -unigram[np.take_along_axis(ids, places, 1)].sum(axis=1))
            np.add.at(totals.words, documents, places.shape[1])
    return totals


def _batches(shard: TokenShard, rows: Sequence[int], context_length: int) -> Iterator[list[_Window]]:
    """Windows of equal length together, so that nothing is padded: attention looks both ways here."""
    windows = sorted(_windows(shard, rows, context_length), key=lambda window: (-window.length, window.start))
    for length, group in groupby(windows, key=lambda window: window.length):
        same, size = list(group), max(1, _TOKENS_PER_BATCH // length)
        yield from (same[at : at + size] for at in range(0, len(same), size))


def _windows(shard: TokenShard, rows: Sequence[int], context_length: int) -> Iterator[_Window]:
    table = shard.documents
    for document, row in enumerate(rows):
        start, end = int(table.starts[row]), int(table.ends[row])
        for first in range(start, end - 1, context_length):
            yield _Window(document, row, first, min(context_length, end - first))


def _places(window: _Window, ratio: float, seed: int) -> NDArray[np.int64]:
    """Which places of a window are hidden, in order."""
    generator = np.random.default_rng([_STREAM, seed, window.row, window.start])
    hidden = max(1, round(ratio * (window.length - 1)))
    return np.sort(1 + generator.permutation(window.length - 1)[:hidden])


def _losses(model: LanguageModel, ids: torch.Tensor, places: torch.Tensor) -> Floats:
    """Total -ln p of the hidden words of each of (B, T) windows, (B,)."""
    from models.linear_cross_entropy import output_head, token_losses

    mask_id = model.config.mask_token_id
    if mask_id is None:
        raise ValueError("the model has no mask_token_id, so no word can be hidden from it")
    hidden = model.model(ids.scatter(1, places, mask_id), causal=False)
    before = (places - 1)[..., None].expand(-1, -1, hidden.shape[-1])
    states, targets = hidden.gather(1, before).flatten(0, 1), ids.gather(1, places).flatten()
    losses = token_losses(states, output_head(model), targets)
    totals: Floats = losses.double().view(places.shape).sum(1).cpu().numpy()
    return totals
