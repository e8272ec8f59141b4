"""How far a model's certainty is from how often it is right, and how far chance alone would put it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BINS = 15
_CELLS = 1 << 21  # simulated outcomes in memory at a time


def calibration_error(confidence: Floats, right: NDArray[Any]) -> Floats:
    """Expected calibration error of (..., N) outcomes: bins of equal mass by confidence, (N,).

    Mean distance between how sure a model is and how often it is right (Naeini et al. 2015; equal mass,
    Nguyen & O'Connor 2015).
    """
    order = np.argsort(confidence, kind="stable")
    gaps = (right - confidence)[..., order]
    bins = np.array_split(np.arange(len(confidence)), min(BINS, len(confidence)))
    total: Floats = sum(np.abs(gaps[..., part].sum(axis=-1)) for part in bins) / len(confidence)
    return total


def calibrated_errors(confidence: Floats, samples: int, seed: int) -> Floats:
    """The error that a perfectly calibrated model with this confidence shows by chance, (samples,).

    With few texts it is far from 0 (0.02 to 0.05 with 1,000), so an error says nothing without it.
    """
    generator, texts = np.random.default_rng([1, seed]), len(confidence)
    step = max(1, _CELLS // texts)
    sizes = [min(step, samples - start) for start in range(0, samples, step)]
    drawn = (generator.random((size, texts)) < confidence for size in sizes)
    return np.concatenate([calibration_error(confidence, right) for right in drawn])
