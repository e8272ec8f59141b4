"""Integrated gradients: how much each token added to a prediction (Sundararajan et al. 2017, via Captum).

The tokens' embeddings are moved in a straight line from a text that tells nothing to the text itself, and the
gradients on the way are added up. The scores then sum to what the prediction gained (completeness); how far
they are from it is measured and told, because an integral taken in too few steps only looks like an explanation.

The text that tells nothing has the mask token in place of every word (`models.predictions.blank_token` says what
happens without one) and keeps the control tokens: the opening one, and the separator after a question. Length,
positions and attention mask stay those of the real text: nothing but the words is taken away. Padding would do
no worse, but the mask token is the one that means a hidden word, and what a masked or hybrid model was trained on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from captum.attr import LayerIntegratedGradients
from numpy.typing import NDArray
from torch import Tensor

from models.predictions import Prediction

FIRST_STEPS, MOST_STEPS = 32, 512
TOLERANCE = 0.02
_TINY = 1e-6  # a prediction that the words move less than this has nothing to be explained
_ROWS = 32  # points of the path in memory at a time


@dataclass(frozen=True)
class Attribution:
    """What each token added to a prediction.

    ``scores`` sum, up to ``completeness_error``, to ``value - baseline_value``. ``offsets`` are characters of the
    text that the joined ``pieces`` are. ``trials`` holds the error after each number of steps tried.
    """

    pieces: tuple[str, ...]
    offsets: tuple[tuple[int, int], ...]
    scores: tuple[float, ...]
    target: str
    value: float
    baseline_value: float
    completeness_error: float
    trials: tuple[tuple[int, float], ...] = ()

    @property
    def complete(self) -> bool:
        """Whether the scores sum to the gain within `TOLERANCE`."""
        return self.completeness_error < TOLERANCE


def attribute(
    prediction: Prediction,
    *,
    tolerance: float = TOLERANCE,
    first_steps: int = FIRST_STEPS,
    most_steps: int = MOST_STEPS,
) -> Attribution:
    """Explain a prediction, in as many steps as completeness asks for.

    Args:
        prediction: any of `models.predictions`.
        tolerance: the completeness error to stay below.
        first_steps: gradients along the path at first; doubled until the error is below `tolerance`.
        most_steps: where doubling ends, with whatever error is left.
    """
    ids = _row(prediction)
    blank = _blanked(prediction, ids)
    with torch.no_grad():
        value, baseline = prediction.ask(prediction.value, torch.cat((ids, blank))).tolist()
    trials: list[tuple[int, float]] = []
    steps = min(first_steps, most_steps)
    while True:
        scores = _integrate(prediction, ids, blank, steps)
        trials.append((steps, completeness_error(scores, value, baseline)))
        if trials[-1][1] < tolerance or 2 * steps > most_steps:
            break
        steps *= 2
    return Attribution(
        pieces=prediction.pieces,
        offsets=_offsets(prediction.pieces),
        scores=tuple(scores.tolist()),
        target=prediction.target,
        value=value,
        baseline_value=baseline,
        completeness_error=trials[-1][1],
        trials=tuple(trials),
    )


def random_attribution(attribution: Attribution, seed: int) -> Attribution:
    """The same tokens with scores by chance: what an explanation must do better than.

    The scores found are dealt out anew, so that their sum and spread are the same and only their places are not;
    tokens without a score, such as control tokens, stay without.
    """
    scores = np.array(attribution.scores)
    scored = np.flatnonzero(scores)
    scores[scored] = scores[np.random.default_rng(seed).permutation(scored)]
    return replace(attribution, scores=tuple(scores.tolist()), trials=())


def completeness_error(scores: NDArray[np.float64], value: float, baseline: float) -> float:
    """How far the scores' sum is from what the prediction gained, relative to the gain."""
    gain = value - baseline
    return float(abs(scores.sum() - gain) / max(abs(gain), _TINY))


def _integrate(prediction: Prediction, ids: Tensor, blank: Tensor, steps: int) -> NDArray[np.float64]:
    """Scores (T,): the embeddings' integrated gradients by the Gauss-Legendre rule, summed over their width."""

    def function(points: Tensor) -> Tensor:
        return prediction.ask(prediction.value, points)

    captum: Any = LayerIntegratedGradients(function, prediction.embedding)
    with torch.enable_grad():
        found: Tensor = captum.attribute(ids, baselines=blank, n_steps=steps, internal_batch_size=_ROWS)
    scores: NDArray[np.float64] = found[0].detach().double().sum(dim=-1).cpu().numpy()
    return scores


def _row(prediction: Prediction) -> Tensor:
    device = next(prediction.embedding.parameters()).device
    return torch.tensor([prediction.input_ids], dtype=torch.int64, device=device)


def _blanked(prediction: Prediction, ids: Tensor) -> Tensor:
    blank = torch.full_like(ids, prediction.blank_id)
    kept = sorted(prediction.kept)
    blank[:, kept] = ids[:, kept]
    return blank


def _offsets(pieces: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    ends = np.cumsum([len(piece) for piece in pieces]).tolist()
    return tuple(zip([0, *ends[:-1]], ends, strict=True))
