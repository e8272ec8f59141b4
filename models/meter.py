"""A live meter of a training: speed, utilisation, energy, cost, time left; and the caps that end it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from models.budget import BudgetConfig, BudgetError, Spending
from models.energy import Reading, Spent, energy

METERED = ("flops_per_second", "utilisation", "kilowatt_hours", "cost", "seconds_left")
"""Names of the metrics, none of which is the same on a rerun."""

_WRITE_SECONDS = 1.0  # a killed process forgets this much of what it spent, at most
_PROBE, _PROBE_CUDA = 1024, 8192  # width of the matrix whose product is timed


class Meter:
    """Adds up what each step takes, over all attempts of a training."""

    def __init__(
        self,
        folder: Path,
        *,
        steps: int,
        flops: Callable[[Any], float],
        budget: BudgetConfig,
        device: torch.device,
        precision: torch.dtype,
        ranks: int = 1,
    ) -> None:
        """Keep count in `folder` of a training of `steps` steps; `flops` tells a batch's, all ranks together."""
        self._folder, self._steps, self._flops, self._budget = folder, steps, flops, budget
        self._device, self._precision, self._ranks = device, precision, ranks
        self._spent = Spending()
        self._fastest = 0.0
        self._first_step = 0
        self._begun = self._last = Reading.now()
        self._written = 0.0

    def start(self, step: int) -> None:
        """Begin at `step`, with what former attempts spent.

        Raises:
            BudgetError: that was all there is.
        """
        self._spent, self._first_step = Spending.read(self._folder), step
        self._fastest = matrix_product_speed(self._device, self._precision)
        self._begun = self._last = Reading.now()
        if not self.exhausted:
            return
        raise self.refusal(step)

    def read(self, step: int, batch: Any, seconds: float) -> dict[str, float]:
        """Count one more step, once a validation after it is over too; return its metrics.

        `seconds` are the step's own: what it is fast or slow by.
        """
        now = Reading.now()
        spent = now.since(self._last)
        self._last = now
        flops = self._flops(batch)
        self._spent = self._spent.plus(spent.seconds, flops, self._joules(spent))
        speed = flops / max(seconds, 1e-9)
        mean = (now.clock - self._begun.clock) / max(1, step - self._first_step)
        return {
            "flops_per_second": speed,
            "utilisation": speed / self._fastest / self._ranks if self._fastest else 0.0,
            "kilowatt_hours": self._spent.kilowatt_hours,
            "cost": self._budget.price(self._spent.seconds, self._spent.joules),
            "seconds_left": mean * (self._steps - step),
        }

    @property
    def exhausted(self) -> bool:
        """Whether a cap is reached."""
        return self._spent.reached(self._budget) is not None

    @property
    def capped(self) -> bool:
        """Whether there is a cap at all."""
        return self._budget.capped

    def refusal(self, step: int) -> BudgetError:
        """The error that ends a training after `step` steps because of a cap."""
        cap = self._spent.reached(self._budget) or "budget"
        share = 100.0 * step / self._steps
        return BudgetError(
            cap,
            f"{getattr(self._budget, cap, 0):g} is used up after step {step} of {self._steps} "
            f"({share:.0f} %): {self._spent.told(self._budget)}",
        )

    def save(self, *, now: bool = False) -> None:
        """Write what was spent, at most once in a second unless it has to be `now`."""
        if now or time.monotonic() - self._written >= _WRITE_SECONDS:
            self._spent.write(self._folder)
            self._written = time.monotonic()

    def told(self, metrics: dict[str, float]) -> str:
        """The metrics in words, for a line of log."""
        return in_words(metrics, self._budget.currency)

    def _joules(self, spent: Spent) -> float:
        """Energy of one step on all ranks: a counter sees them all, an estimate only its own process."""
        _, joules = energy(spent, self._budget.watts_per_core)
        if not spent.joules:
            joules *= self._ranks
        gpus = self._ranks if self._device.type == "cuda" else 0
        return joules + gpus * spent.seconds * self._budget.watts_per_gpu


def in_words(metrics: Mapping[str, float], currency: str) -> str:
    """What `METERED` says of a step, for a line of log."""
    return (
        f"{metrics['flops_per_second'] / 1e9:.1f} GFLOP/s ({100 * metrics['utilisation']:.0f} % of a matrix "
        f"product's), {metrics['kilowatt_hours']:.2g} kWh, {metrics['cost']:.2g} {currency}, "
        f"{duration(metrics['seconds_left'])} left"
    )


def matrix_product_speed(device: torch.device, precision: torch.dtype) -> float:
    """FLOP/s of the fastest of three products of square matrices: what utilisation is measured against."""
    width = _PROBE_CUDA if device.type == "cuda" else _PROBE
    matrix = torch.ones(width, width, device=device, dtype=precision)
    best = float("inf")
    for _ in range(3):
        started = time.perf_counter()
        float((matrix @ matrix)[0, 0])  # waits for a GPU
        best = min(best, time.perf_counter() - started)
    return 2.0 * width**3 / best


def duration(seconds: float) -> str:
    """Seconds in a unit that people think in."""
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
