"""Small statistics of shares: an interval, a test of a direction, and many tests at once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tasks.evaluation.bootstrap import Interval

_Z = 1.959964  # of a two-sided 95 % interval


def wilson(share: float, n: int) -> Interval:
    """The 95 % score interval of a share of ``n`` independent items (Wilson 1927); a tie may count a half."""
    if n < 1:
        raise ValueError("a share of nothing has no interval")
    centre = share + _Z**2 / (2 * n)
    width = _Z * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n * n))
    scale = 1 + _Z**2 / n
    return Interval((centre - width) / scale, (centre + width) / scale)


def sign_test(differences: Sequence[float] | np.ndarray) -> float:
    """Two-sided exact p-value that as many differences lie above zero as below; zeros do not count.

    Of paired zeros and ones it is McNemar's exact test.
    """
    signs = np.sign(np.asarray(differences, dtype=np.float64))
    above, n = int((signs > 0).sum()), int((signs != 0).sum())
    tail = sum(math.comb(n, k) for k in range(min(above, n - above) + 1))
    return float(min(1.0, 2 * (tail / 2**n)))


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values (q): taking those below a bound, at most that share of them is expected to be false.

    Benjamini & Hochberg 1995.
    """
    order = sorted(range(len(p_values)), key=lambda place: -p_values[place])
    adjusted, smallest = [1.0] * len(p_values), 1.0
    for rank, place in zip(range(len(p_values), 0, -1), order, strict=True):
        smallest = min(smallest, p_values[place] * len(p_values) / rank)
        adjusted[place] = smallest
    return adjusted
