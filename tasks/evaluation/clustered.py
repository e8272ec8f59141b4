"""Means with 95 % intervals where texts belong together: by prompt, or by document.

Texts of one document resemble each other, so documents are drawn anew, not texts (Miller 2024,
arXiv:2411.00640). Of things that happen rarely, no drawing anew shows what might have happened: for a share
the interval is never narrower than Wilson's, and where all texts agree it is the rule of three (Hanley &
Lippman-Hand 1983).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tasks.evaluation.bootstrap import interval, ratio_replicates
from tasks.evaluation.proportions import wilson

METHOD = "95 % bootstrap over clusters, for shares not narrower than Wilson's; all alike: rule of three, 3/n"


class Mean(NamedTuple):
    """A mean over ``n`` values; no bounds where one cluster is all there is."""

    value: float
    low: float | None
    high: float | None
    n: int

    def fields(self) -> dict[str, Any]:
        """As keyword arguments of a `Record`."""
        return self._asdict()


def clustered_mean(
    values: ArrayLike,
    clusters: Sequence[Any] | NDArray[Any],
    *,
    samples: int,
    seed: int,
    sizes: ArrayLike | None = None,
) -> Mean:
    """The mean of (n,) values, weighted by ``sizes`` where given: ``sum(values) / sum(sizes)``.

    Values that are all 0 or 1, without sizes, are taken as a share. The clusters are ``(n,)`` names.

    Raises:
        ValueError: there are no values.
    """
    parts = np.asarray(values, dtype=np.float64)
    if not len(parts):
        raise ValueError("a mean needs at least one value")
    weights = np.ones(len(parts)) if sizes is None else np.asarray(sizes, dtype=np.float64)
    _, places = np.unique(np.asarray(clusters), return_inverse=True)
    value = float(parts.sum() / weights.sum())
    if sizes is None and np.isin(parts, (0.0, 1.0)).all() and parts.min() == parts.max():
        return Mean(value, *_rule_of_three(value, len(parts)), len(parts))
    if places.max() == 0:
        return Mean(value, None, None, len(parts))
    sums, totals = np.bincount(places, parts), np.bincount(places, weights)
    low, high = interval(ratio_replicates(sums[:, None].astype(np.float64), totals, samples, seed))
    if sizes is None and np.isin(parts, (0.0, 1.0)).all():
        lower, upper = wilson(value, len(parts))
        low, high = min(low, lower), max(high, upper)
    return Mean(value, low, high, len(parts))


def difference(first: Mean, second: Mean) -> Mean:
    """First less second, of unpaired texts, from their intervals (Newcombe 1998; Zou & Donner 2008)."""
    value = first.value - second.value
    if first.low is None or first.high is None or second.low is None or second.high is None:
        return Mean(value, None, None, min(first.n, second.n))
    low = value - math.hypot(first.value - first.low, second.high - second.value)
    high = value + math.hypot(first.high - first.value, second.value - second.low)
    return Mean(value, low, high, min(first.n, second.n))


def _rule_of_three(value: float, n: int) -> tuple[float, float]:
    reach = min(1.0, 3.0 / n)
    return (0.0, reach) if value == 0.0 else (1.0 - reach, 1.0)
