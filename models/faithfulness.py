"""Whether an explanation names the tokens that the prediction hangs on (ERASER, DeYoung et al. 2020).

comprehensiveness  what the prediction loses without its most important tokens: high is good
sufficiency        what it loses with nothing but them: low is good

Both are differences of probability, averaged over several shares of tokens taken for important. They cannot be
compared between models (a sure model has more to lose), so the same numbers of random attributions belong beside
them. A text with holes is one the model never read; therefore two kinds of hole are measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.predictions import Prediction

Removal = Literal["delete", "mask"]
REMOVALS: tuple[Removal, ...] = ("delete", "mask")
SHARES = (0.1, 0.2, 0.5)
_ROWS = 64


class Faithfulness(NamedTuple):
    """Differences of probability, averaged over `SHARES` of the tokens."""

    comprehensiveness: float
    sufficiency: float


@dataclass(frozen=True)
class _Variant:
    """A text without some of its tokens."""

    ids: tuple[int, ...]
    places: tuple[int, ...]


def faithfulness(
    prediction: Prediction,
    attributions: Sequence[Sequence[float]],
    removal: Removal,
    *,
    shares: Sequence[float] = SHARES,
) -> list[Faithfulness]:
    """Measure several attributions (scores per token) of one prediction.

    The highest scores are the important ones: what speaks against a prediction is no reason for it. Control
    tokens and those that a span is read off at stay. Without any other token there is nothing to lose: 0.
    """
    if not prediction.free:
        return [Faithfulness(0.0, 0.0) for _ in attributions]
    variants: list[_Variant] = [_Variant(prediction.input_ids, prediction.places)]
    for scores in attributions:
        for share in shares:
            chosen = important(prediction, scores, share)
            variants += [
                _without(prediction, chosen, removal),
                _without(prediction, set(prediction.free) - chosen, removal),
            ]
    found = _probabilities(prediction, variants)
    lost = (found[0] - found[1:]).reshape(len(attributions), len(shares), 2).mean(axis=1)
    return [Faithfulness(float(row[0]), float(row[1])) for row in lost]


def important(prediction: Prediction, scores: Sequence[float], share: float) -> set[int]:
    """Places of the `share` of the tokens that score highest, at least one; the earlier one on a tie."""
    count = max(1, math.ceil(share * len(prediction.free) - 1e-9))
    return set(sorted(prediction.free, key=lambda place: (-scores[place], place))[:count])


def _without(prediction: Prediction, removed: set[int], removal: Removal) -> _Variant:
    ids = prediction.input_ids
    if removal == "mask":
        blank = prediction.blank_id
        return _Variant(
            tuple(blank if at in removed else token for at, token in enumerate(ids)), prediction.places
        )
    left = [place for place in range(len(ids)) if place not in removed]
    moved = {place: number for number, place in enumerate(left)}
    return _Variant(tuple(ids[place] for place in left), tuple(moved[place] for place in prediction.places))


@torch.no_grad()
def _probabilities(prediction: Prediction, variants: Sequence[_Variant]) -> NDArray[np.float64]:
    """Probability of the prediction in every variant; variants of similar length share a batch."""
    device = next(prediction.embedding.parameters()).device
    order = sorted(range(len(variants)), key=lambda at: len(variants[at].ids))
    found = np.empty(len(variants))
    for start in range(0, len(order), _ROWS):
        batch = order[start : start + _ROWS]
        ids, mask, places = (part.to(device) for part in _collate([variants[at] for at in batch]))
        found[batch] = prediction.probability(ids, mask, places).double().cpu().numpy()
    return found


def _collate(variants: Sequence[_Variant]) -> tuple[Tensor, Tensor, Tensor]:
    width = max(len(each.ids) for each in variants)
    ids = torch.zeros((len(variants), width), dtype=torch.int64)
    mask = torch.zeros((len(variants), width), dtype=torch.bool)
    for row, each in enumerate(variants):
        ids[row, : len(each.ids)] = torch.tensor(each.ids)
        mask[row, : len(each.ids)] = True
    return ids, mask, torch.tensor([each.places for each in variants], dtype=torch.int64)
