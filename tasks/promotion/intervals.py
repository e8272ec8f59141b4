"""How far one model lies from another on the same documents or items, and how sure that is.

Right or wrong answers that stand alone take Bonett and Price's interval for paired proportions (2012, Journal
of Educational and Behavioral Statistics 37), which keeps its promise on small sets, where a bootstrap of two
models that happen to agree has no width at all. Everything else is drawn anew by cluster, with percentiles
widened for few clusters (Hesterberg 2015, The American Statistician 69, "expanded percentile interval").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.evaluation.bootstrap import Interval, ratio_replicates

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Paired:
    """Two models on the same items: arrays have one entry for each, in one order.

    A model's value is ``sum(parts) / sum(sizes)``: bits over bytes, or points over items.
    """

    challenger: Floats
    reference: Floats
    sizes: Floats
    clusters: tuple[str, ...]  # items of one cluster are drawn together

    def values(self) -> tuple[float, float]:
        """The value of the challenger and of the reference."""
        total = self.sizes.sum()
        return float(self.challenger.sum() / total), float(self.reference.sum() / total)

    @property
    def cluster_count(self) -> int:
        """How many independent pieces there are."""
        return len(set(self.clusters))


def difference_interval(paired: Paired, confidence: float, samples: int, seed: int) -> Interval:
    """Interval of the challenger's value less the reference's; needs two clusters at least."""
    if _single_answers(paired):
        return _paired_proportions(paired.challenger, paired.reference, confidence)
    _, places = np.unique(np.array(paired.clusters, dtype=np.str_), return_inverse=True)
    parts = np.bincount(places, paired.challenger - paired.reference).astype(np.float64)
    sizes = np.bincount(places, paired.sizes).astype(np.int64)
    drawn = ratio_replicates(parts[:, None], sizes, samples, seed)[:, 0]
    tail = _expanded_tail(len(parts), confidence)
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(float(low), float(high))


def _single_answers(paired: Paired) -> bool:
    values = np.concatenate([paired.challenger, paired.reference])
    alone = paired.cluster_count == len(paired.clusters) and bool(np.all(paired.sizes == 1))
    return alone and bool(np.isin(values, (0.0, 1.0)).all())


def _paired_proportions(challenger: Floats, reference: Floats, confidence: float) -> Interval:
    from scipy.stats import norm  # type: ignore[import-untyped]

    n = len(challenger) + 2
    won = (np.sum(challenger > reference) + 1) / n
    lost = (np.sum(challenger < reference) + 1) / n
    middle = won - lost
    reach = norm.ppf(0.5 + confidence / 2) * np.sqrt((won + lost - middle**2) / n)
    return Interval(float(max(middle - reach, -1.0)), float(min(middle + reach, 1.0)))


def _expanded_tail(clusters: int, confidence: float) -> float:
    """The tail to cut so that percentiles reach as far as a t interval does: 2.5 % becomes 1.1 % of 12."""
    from scipy.stats import norm, t

    wanted = (1 - confidence) / 2
    return float(norm.cdf(np.sqrt(clusters / (clusters - 1)) * t.ppf(wanted, clusters - 1)))
