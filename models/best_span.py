"""The span of a context whose expected F1 is greatest under a model's odds, which is not the likeliest one.

An unsure model spreads its odds over many spans that overlap; the likeliest is then a single word, and mostly
wrong.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_SMALLEST = 1e-300
_FLOOR = -300.0  # of a log-odds below the largest: two of them together are still a positive float
Floats = NDArray[np.float64]


class Reading(NamedTuple):
    """What a head makes of one context: (tokens,) log-odds of each being the first and the last of the answer.

    Odds are against "the answer is not in this window".
    """

    first: Floats
    last: Floats


class Found(NamedTuple):
    """The best span of a context: its tokens (inclusive), its expected F1, the probability of no answer."""

    first: int
    last: int
    expected_f1: float
    no_answer: float

    @property
    def silence(self) -> float:
        """How many times as much answering nothing is expected to be worth."""
        return self.no_answer / max(self.expected_f1, _SMALLEST)


def best_span(reading: Reading, longest: int, temperature: float) -> Found | None:
    """Find the span of at most `longest` tokens whose expected token F1 is greatest; None without a token.

    The odds of a span are the product of those of its ends, to the power 1 / `temperature`; those of no answer
    are 1. Of equal spans the shortest, then the earliest is taken.

    The F1 of spans of n and m tokens is 2 * overlap / (n + m), and the overlap is a sum over tokens: a running
    sum for each n gives every expectation exactly, in O(longest^2 * tokens), without comparing all with all.
    """
    tokens = len(reading.first)
    if not tokens:
        return None
    longest = min(longest, tokens)
    odds, log_scale = _span_odds(reading, longest, temperature)
    lengths = np.arange(1, longest + 1)
    worth = (2.0 / (lengths[:, None] + lengths[None, :])) @ _coverage(odds)
    running = np.concatenate([np.zeros((longest, 1)), np.cumsum(worth, axis=1)], axis=1)
    best = (-1.0, 0, 0)
    for length in range(1, longest + 1):
        values = running[length - 1, length:] - running[length - 1, : tokens + 1 - length]
        start = int(values.argmax())
        best = max(best, (float(values[start]), -length, -start))
    total = float(odds.sum())
    answered = float(1.0 / (1.0 + np.exp(-np.clip(np.log(total) + log_scale, -700.0, 700.0))))
    first = -best[2]
    return Found(first, first - best[1] - 1, best[0] / total * answered, 1.0 - answered)


def _span_odds(reading: Reading, longest: int, temperature: float) -> tuple[Floats, float]:
    """(longest, tokens) odds, divided by e^scale, of the span of each length - 1 at each start; and scale."""
    tops = float(reading.first.max()), float(reading.last.max())
    first = np.exp(np.maximum((reading.first - tops[0]) / temperature, _FLOOR))
    last = np.exp(np.maximum((reading.last - tops[1]) / temperature, _FLOOR))
    odds = np.zeros((longest, len(first)))
    for length in range(1, longest + 1):
        starts = len(first) + 1 - length
        odds[length - 1, :starts] = first[:starts] * last[length - 1 :]
    return odds, sum(tops) / temperature


def _coverage(odds: Floats) -> Floats:
    """(longest, tokens) total odds of the spans of each length that hold a token."""
    covered = np.cumsum(odds, axis=1)
    for length in range(1, len(odds) + 1):
        row = np.cumsum(odds[length - 1])
        covered[length - 1, length:] = row[length:] - row[:-length]
    return covered
