"""How sure a ratio is: documents are drawn anew, with replacement, and the ratio is taken again.

The unit of drawing is the document, because the tokens of one document resemble each other; an interval over
tokens would be several times too narrow. All models are judged on the same draws, so a difference is paired:
what makes a draw hard for both models cancels (Koehn 2004; Miller 2024, arXiv:2411.00640).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_CELLS = 1 << 21  # drawn documents in memory at a time: 16 MiB
_TAIL = 0.025


class Interval(NamedTuple):
    """The middle 95 % of the bootstrap's values."""

    low: float
    high: float


def ratio_replicates(parts: Floats, sizes: NDArray[np.int64], samples: int, seed: int) -> Floats:
    """Return (samples, models) ratios ``sum of parts / sum of sizes``, each over one drawing of documents.

    Args:
        parts: (documents, models) what is summed above the line, such as bits.
        sizes: (documents,) what is summed below it, such as bytes; not negative, and not all nought. Where the
            drawn ones are, the ratio is NaN.
        samples: how many drawings.
        seed: equal seeds draw equal documents.
    """
    documents, generator = len(sizes), np.random.default_rng(seed)
    columns = np.column_stack([parts, sizes]).T.astype(np.float64).copy()
    rows: list[Floats] = []
    step = max(1, _CELLS // documents)
    for start in range(0, samples, step):
        drawn = generator.integers(documents, size=(min(step, samples - start), documents))
        totals = np.stack([column[drawn].sum(axis=1) for column in columns], axis=1)
        with np.errstate(invalid="ignore"):
            rows.append(totals[:, :-1] / totals[:, -1:])
    return np.concatenate(rows)


def drawn_sums(columns: Floats, samples: int, seed: int) -> Floats:
    """Return (samples, columns) sums over drawings of the (documents, columns), the same documents for every column.

    Equal seeds draw equal documents, here as in `ratio_replicates`; this is the faster way for many columns.
    """
    documents, generator = len(columns), np.random.default_rng(seed)
    rows: list[Floats] = []
    step = max(1, _CELLS // documents)
    for start in range(0, samples, step):
        drawn = generator.integers(documents, size=(min(step, samples - start), documents))
        times = np.stack([np.bincount(each, minlength=documents) for each in drawn]).astype(np.float64)
        rows.append(times @ columns)
    return np.concatenate(rows)


def interval(replicates: Floats) -> Interval:
    """The 95 % percentile interval of (samples,) replicates; those that are NaN say nothing."""
    low, high = np.nanquantile(replicates, [_TAIL, 1 - _TAIL])
    return Interval(float(low), float(high))
