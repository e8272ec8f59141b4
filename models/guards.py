"""What stops a step before it does harm: numbers that are not finite, and spikes of the loss or the gradient."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

PATIENCE = 10
"""Skipped steps in a row after which a spike is no spike but a new level, and the guard learns it anew."""

logger = logging.getLogger(__name__)


class NonFiniteError(FloatingPointError):
    """The loss or the gradient became NaN or infinite; the weights are still those of the step before."""


class SpikeGuard:
    """Refuses a step whose loss or gradient norm lies far above those of the steps before.

    Far is `sigma` standard deviations above the mean of the last `window` accepted steps, and there is no
    judgement before there were that many. The rule is that of OLMo-core's SkipStepOptimizer, which counts
    refused steps in its window too; here, `PATIENCE` refusals in a row end the refusing instead.

    Everything is plain numbers that the training loop has on the host anyway, the same on every rank.
    """

    def __init__(self, sigma: float, window: int) -> None:
        """Judge by `sigma` (0: accept all) over `window` steps."""
        self._sigma, self._window = sigma, window
        self._accepted: deque[tuple[float, float]] = deque(maxlen=window)
        self._in_a_row = 0
        self.skipped = 0

    def accepts(self, step: int, loss: float, norm: float, *, aloud: bool = True) -> bool:
        """Whether step `step` (from 1), with this loss and gradient norm, may change the weights."""
        level = logging.WARNING if aloud else logging.DEBUG
        if not self._sigma:
            return True
        why = self._complaint(loss, norm) if len(self._accepted) == self._window else ""
        if why and self._in_a_row < PATIENCE:
            self._in_a_row += 1
            self.skipped += 1
            logger.log(level, "step %d is skipped: %s (%d skipped so far)", step, why, self.skipped)
            return False
        if why:
            logger.log(level, "step %d is taken although %s: so were the %d before", step, why, PATIENCE)
            self._accepted.clear()
        self._in_a_row = 0
        self._accepted.append((loss, norm))
        return True

    def _complaint(self, loss: float, norm: float) -> str:
        """What is too high, in words; nothing if all is well."""
        history = np.array(self._accepted)
        means, limits = history.mean(axis=0), history.mean(axis=0) + self._sigma * history.std(axis=0)
        for place, (name, value) in enumerate((("loss", loss), ("gradient norm", norm))):
            if value > limits[place]:
                return (
                    f"its {name} {value:.4g} is more than {self._sigma:g} standard deviations above "
                    f"{means[place]:.4g}, the mean of {self._window} steps"
                )
        return ""

    def state_dict(self) -> dict[str, Any]:
        """All that the next judgement depends on."""
        return {
            "accepted": [list(pair) for pair in self._accepted],
            "in_a_row": self._in_a_row,
            "skipped": self.skipped,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was asked."""
        self._accepted = deque(((loss, norm) for loss, norm in state["accepted"]), maxlen=self._window)
        self._in_a_row, self.skipped = int(state["in_a_row"]), int(state["skipped"])


def ranks_at_fault(losses: list[float]) -> list[int]:
    """The ranks whose own loss is not finite."""
    return [rank for rank, loss in enumerate(losses) if not math.isfinite(loss)]
