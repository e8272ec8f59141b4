"""How much likelier one sentence of a pair is than the other, as a whole and in the tokens they share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from models.transformer import LanguageModel

Floats = NDArray[np.float64]
Ids = tuple[int, ...]
TokenNats = Callable[[Sequence[Ids]], list[Floats]]  # -ln p of every token of every sentence
_TOKENS_PER_BATCH = 8192
TIE = 1e-4  # nats; closer than this is a tie: beyond it lies the rounding of float32


class Deltas(NamedTuple):
    """ln p(first) - ln p(second) of every pair, (N,) in nats; NaN where the pair does not define it.

    ``shared`` is over the tokens that both sentences have, given the words before them (Nangia et al. 2020, for
    a model that reads from left to right): how frequent the exchanged words are cancels. Before the exchange
    the sentences are the same, so only what follows counts; nothing may follow. ``whole`` is over all tokens.
    """

    shared: Floats
    whole: Floats


def model_nats(model: LanguageModel, separator: int) -> TokenNats:
    """Score sentences with a network that predicts the next token; each is opened by the separator.

    In batches of about equal length, with the arithmetic of ``models/scoring.py`` in float32.
    """

    def score(sentences: Sequence[Ids]) -> list[Floats]:
        import torch

        found: list[Floats] = [np.zeros(0)] * len(sentences)
        was_training = model.training
        model.eval()
        with torch.inference_mode():
            for places in _batches(sentences):
                nats = _score_batch(model, [sentences[place] for place in places], separator)
                for place, row in zip(places, nats, strict=True):
                    found[place] = row
        model.train(was_training)
        return found

    return score


def unigram_nats(log_probabilities: Floats) -> TokenNats:
    """Score sentences by how frequent their tokens are: ``log_probabilities`` (V,)."""

    def score(sentences: Sequence[Ids]) -> list[Floats]:
        return [-log_probabilities[np.array(ids, dtype=np.int64)] for ids in sentences]

    return score


def deltas(token_nats: TokenNats, pairs: Sequence[tuple[Ids, Ids]]) -> Deltas:
    """Compare the sentences of every pair; a sentence that occurs in several is scored once."""
    sentences = list(dict.fromkeys(ids for pair in pairs for ids in pair))
    nats = dict(zip(sentences, token_nats(sentences), strict=True))
    shared, whole = np.full(len(pairs), np.nan), np.zeros(len(pairs))
    for place, (first, second) in enumerate(pairs):
        whole[place] = nats[second].sum() - nats[first].sum()
        left, right = shared_places(first, second)
        if left:
            shared[place] = nats[second][right].sum() - nats[first][left].sum()
    return Deltas(shared, whole)


def shared_places(first: Ids, second: Ids) -> tuple[list[int], list[int]]:
    """Where the tokens after the first difference stand that both sentences have, in either sentence."""
    start = next((i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), None)
    if start is None:
        return [], []
    matcher = SequenceMatcher(None, first[start:], second[start:], autojunk=False)
    left: list[int] = []
    right: list[int] = []
    for block in matcher.get_matching_blocks():
        left.extend(range(start + block.a, start + block.a + block.size))
        right.extend(range(start + block.b, start + block.b + block.size))
    return left, right


def preferences(delta: Floats) -> Floats:
    """1 where the first sentence is likelier, 0 where the second is, a half at a tie, NaN where undefined."""
    decided = np.where(delta > 0, 1.0, 0.0)
    return np.where(np.isnan(delta), np.nan, np.where(np.abs(delta) <= TIE, 0.5, decided))


def _batches(sentences: Sequence[Ids]) -> Iterator[list[int]]:
    """Places of sentences of similar length, long ones first, so that little is padding."""
    order = sorted(
        (place for place, ids in enumerate(sentences) if ids), key=lambda p: (-len(sentences[p]), p)
    )
    start = 0
    while start < len(order):
        size = max(1, _TOKENS_PER_BATCH // len(sentences[order[start]]))
        yield order[start : start + size]
        start += size


def _score_batch(model: LanguageModel, sentences: Sequence[Ids], separator: int) -> Iterator[Floats]:
    import torch

    from models.linear_cross_entropy import output_head, token_losses

    lengths = [len(ids) for ids in sentences]
    # padding stands to the right, where causal attention cannot see it
    ids = torch.full((len(sentences), 1 + max(lengths)), separator, dtype=torch.int64)
    for row, sentence in enumerate(sentences):
        ids[row, 1 : 1 + len(sentence)] = torch.tensor(sentence)
    real = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    device = next(model.parameters()).device
    ids, real = ids.to(device), real.to(device)
    hidden = model.model(ids[:, :-1], causal=True)
    losses = token_losses(hidden[real], output_head(model), ids[:, 1:][real]).double().cpu().numpy()
    yield from np.split(losses, np.cumsum(lengths)[:-1])
