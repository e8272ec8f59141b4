"""Where in a context answers begin, whatever is asked: a prior that no single window can learn.

A window of a long context does not show where in the context it stands, and answers are not spread evenly:
in dialogues they stand early, in stories anywhere. Places are counted in octaves (0, 1, 2-3, 4-7, ...), since a
token more or less matters at the beginning and not in the middle.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def fit_place_prior(starts: Sequence[int], lengths: Sequence[int]) -> tuple[float, ...]:
    """Learn how much likelier than by chance an answer begins in each octave, as log-odds.

    One more answer is supposed in every octave, observed and expected: what was hardly seen says little.

    Args:
        starts: number, in its context, of the first token of each training answer.
        lengths: tokens of those contexts.
    """
    octaves = int(_octave(np.array([max(lengths, default=1) - 1]))[0]) + 1
    observed, expected = np.ones(octaves), np.ones(octaves)
    for start, length in zip(starts, lengths, strict=True):
        observed[_octave(np.array([start]))[0]] += 1
        expected += np.bincount(_octave(np.arange(length)), minlength=octaves) / length
    return tuple(float(value) for value in np.log(observed / expected))


def place_log_odds(prior: Sequence[float], tokens: int) -> Floats:
    """(tokens,) log-odds of an answer to begin at each token of a context; beyond the last octave, that one's."""
    if not prior:
        return np.zeros(tokens)
    return np.asarray(prior)[np.minimum(_octave(np.arange(tokens)), len(prior) - 1)]


def _octave(places: NDArray[np.int64]) -> NDArray[np.int32]:
    exponents: NDArray[np.int32] = np.frexp(places)[1]
    return exponents
