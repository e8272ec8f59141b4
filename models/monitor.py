"""What happens between two optimiser steps: metrics, validation, checkpoints, progress."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities.exceptions import SIGTERMException

from models.budget import BudgetError
from models.checkpoint import checkpoint_path
from models.meter import METERED, Meter

logger = logging.getLogger(__name__)

OnMetrics = Callable[[int, dict[str, float]], None]


class Progress:
    """A bar on a terminal, a line of log every tenth of the way elsewhere."""

    def __init__(self, total: int, done: int, bar: bool | None, counted: str = "tokens") -> None:
        """Begin at `done` of `total` steps; `bar` None shows a bar if standard error is a terminal."""
        self._total, self._counted, self._bar = total, counted, None
        if sys.stderr.isatty() if bar is None else bar:
            from tqdm import tqdm

            self._bar = tqdm(total=total, initial=done, desc="training", unit="step", dynamic_ncols=True)

    def update(self, step: int, metrics: Mapping[str, float], told: str) -> None:
        """Show that `step` steps are done; `told` is what the meter says."""
        speed = f"{metrics[f'{self._counted}_per_second']:.0f} {self._counted}/s"
        if self._bar is not None:
            taken = {"power": f"{metrics['kilowatt_hours']:.2g} kWh", "cost": f"{metrics['cost']:.2g}"}
            self._bar.set_postfix(loss=f"{metrics['loss']:.3f}", speed=speed, **taken, refresh=False)
            self._bar.update(step - self._bar.n)
        elif step * 10 // self._total > (step - 1) * 10 // self._total:
            logger.info("step %d of %d: loss %.4f, %s, %s", step, self._total, metrics["loss"], speed, told)

    def close(self) -> None:
        """Leave the terminal tidy."""
        if self._bar is not None:
            self._bar.close()


class Monitor(pl.Callback):
    """Reports, validates and saves after each optimiser step, in this order.

    A checkpoint therefore always holds the metrics of its own step; after a crash, steps since the last
    checkpoint are reported a second time, with equal numbers.
    """

    def __init__(
        self,
        *,
        folder: Path,
        steps: int,
        per_step: int,
        checkpoint_every: int,
        validate_every: int,
        validate: Callable[[], dict[str, float]],
        on_metrics: OnMetrics,
        progress: bool | None,
        meter: Meter,
        counted: str = "tokens",
    ) -> None:
        """Count `per_step` tokens (or other `counted` things) a step; save to `folder`.

        `on_metrics(step, metrics)` is called for every step, on the main thread of rank 0.
        """
        self._folder, self._steps, self._per_step = folder, steps, per_step
        self._counted, self._speed = counted, f"{counted}_per_second"
        self._checkpoint_every, self._validate_every = checkpoint_every, validate_every
        self._validate, self._on_metrics, self._wants_bar = validate, on_metrics, progress
        self._meter = meter
        self._progress: Progress | None = None
        self._started = 0.0
        self._saved_step = -1
        self.metrics: dict[str, float] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show where training stands.

        Raises:
            BudgetError: former attempts used up the budget.
        """
        self._saved_step = trainer.global_step
        self._meter.start(trainer.global_step)
        if trainer.is_global_zero:
            self._progress = Progress(self._steps, trainer.global_step, self._wants_bar, self._counted)

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Start the clock: validation and saving do not count against the speed."""
        self._started = time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Report the step, validate and save when it is time to.

        Raises:
            BudgetError: the budget is used up, before the last step.
        """
        step = trainer.global_step
        metrics = {name: float(value) for name, value in outputs.items()}
        seconds = time.perf_counter() - self._started
        metrics[self._counted] = float(step * self._per_step)
        metrics[self._speed] = self._per_step / seconds
        if trainer.is_global_zero:
            if self._due(step, self._validate_every):
                metrics |= self._validate()
            metrics |= self._meter.read(step, batch, seconds)
            self._on_metrics(step, metrics)
            if self._progress is not None:
                self._progress.update(step, metrics, self._meter.told(metrics))
            self._meter.save()
        timed = (self._speed, *METERED)
        self.metrics |= {name: value for name, value in metrics.items() if name not in timed}
        if self._due(step, self._checkpoint_every):
            self._save(trainer)
        self._keep_to_budget(trainer)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Save when asked to terminate, which Lightning obeys between two steps, or by the budget.

        Never after an error.
        """
        if trainer.is_global_zero:
            self._meter.save(now=True)
        wanted = isinstance(exception, SIGTERMException | BudgetError)
        if wanted and trainer.global_step != self._saved_step:
            self._save(trainer)
            why = "the budget is used up" if isinstance(exception, BudgetError) else "asked to terminate"
            logger.warning("%s: saved step %d, run again to continue", why, trainer.global_step)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Close the bar and the meter's book; after an error, Lightning does not come here."""
        if trainer.is_global_zero:
            self._meter.save(now=True)
        if self._progress is not None:
            self._progress.close()

    def state_dict(self) -> dict[str, Any]:
        """The latest value of every metric, so that a finished run can tell them again."""
        return {"metrics": self.metrics}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the metrics of the checkpoint."""
        self.metrics = dict(state_dict["metrics"])

    def _keep_to_budget(self, trainer: pl.Trainer) -> None:
        """Stop all ranks at the border of the same step once one of them has reached a cap."""
        step = trainer.global_step
        if not self._meter.capped or step == self._steps:
            return
        if trainer.strategy.reduce_boolean_decision(self._meter.exhausted, all=False):
            raise self._meter.refusal(step)

    def _due(self, step: int, every: int) -> bool:
        return step % every == 0 or step == self._steps

    def _save(self, trainer: pl.Trainer) -> None:
        trainer.save_checkpoint(checkpoint_path(self._folder, trainer.global_step))
        self._saved_step = trainer.global_step
