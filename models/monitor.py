"""What happens between two optimiser steps: metrics, validation, checkpoints, progress."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from models import random_states
from models.checkpoint import CheckpointError, checkpoint_path
from models.checkpoint_io import VerifiedCheckpointIO
from models.meter import METERED, Meter
from models.signals import StopTraining

logger = logging.getLogger(__name__)

OnMetrics = Callable[[int, dict[str, float]], None]
Place = Callable[[int], dict[str, int]]
"""Where training stands before a step, in numbers that depend on neither ranks nor micro-batches."""

_SCORES = ("validation/loss", "validation/masked_loss")


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
        place: Place,
        on_metrics: OnMetrics,
        progress: bool | None,
        meter: Meter,
        counted: str = "tokens",
    ) -> None:
        """Count `per_step` tokens (or other `counted` things) a step; save to `folder`.

        `on_metrics(step, metrics)` is called for every step, on rank 0; `validate()` on every rank, for those
        to take part that hold a part of the model. `place(step)` goes into every checkpoint, and a checkpoint
        that says otherwise is not taken up.
        """
        self._folder, self._steps, self._per_step = folder, steps, per_step
        self._counted, self._speed = counted, f"{counted}_per_second"
        self._checkpoint_every, self._validate_every = checkpoint_every, validate_every
        self._validate, self._on_metrics, self._wants_bar = validate, on_metrics, progress
        self._place, self._meter = place, meter
        self._progress: Progress | None = None
        self._random_states: list[random_states.State] = []
        self._validation_loss: float | None = None
        self._started = 0.0
        self._saved_step = -1
        self.metrics: dict[str, float] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show where training stands, with the random generators where they stood there.

        Raises:
            BudgetError: former attempts used up the budget.
        """
        self._saved_step = trainer.global_step
        if len(self._random_states) == trainer.world_size:
            random_states.restore(self._random_states[trainer.global_rank], trainer.strategy.root_device)
        self._meter.start(trainer.global_step)
        if trainer.is_global_zero:
            self._progress = Progress(self._steps, trainer.global_step, self._wants_bar, self._counted)

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Fail if the last checkpoint could not be written; start the clock.

        Validation and saving do not count against the speed.
        """
        _checkpoints(trainer).raise_failure()
        self._started = time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Report the step, validate and save when it is time to; stop if a rank was asked to.

        Raises:
            BudgetError: the budget is used up, before the last step.
            StopTraining: a rank was asked to stop.
        """
        step = trainer.global_step
        metrics = {name: float(value) for name, value in outputs.items() if name != "stop"}
        seconds = time.perf_counter() - self._started
        metrics[self._counted] = float(step * self._per_step)
        metrics[self._speed] = self._per_step / seconds
        self._validation_loss = None
        if _due(step, self._validate_every, self._steps):
            metrics |= self._validate()
            self._validation_loss = _score(metrics)
        if trainer.is_global_zero:
            metrics |= self._meter.read(step, batch, seconds)
            self._on_metrics(step, metrics)
            if self._progress is not None:
                self._progress.update(step, metrics, self._meter.told(metrics))
            self._meter.save()
        timed = (self._speed, *METERED)
        self.metrics |= {name: value for name, value in metrics.items() if name not in timed}
        if _due(step, self._checkpoint_every, self._steps):
            self._save(trainer)
        # a signal that came after the ranks' exchange waits for the next one, unless there is nobody to agree with
        stop = int(outputs["stop"]) or (pl_module.stop.signal if trainer.world_size == 1 else 0)
        if stop and step < self._steps:
            self._save_now(trainer, "asked to stop")
            raise StopTraining(stop)
        if self._meter.capped and step < self._steps:
            self._keep_to_budget(trainer)

    def _keep_to_budget(self, trainer: pl.Trainer) -> None:
        """Stop all ranks at the border of the same step once one of them has reached a cap."""
        if trainer.strategy.reduce_boolean_decision(self._meter.exhausted, all=False):
            self._save_now(trainer, "the budget is used up")
            raise self._meter.refusal(trainer.global_step)

    def _save_now(self, trainer: pl.Trainer, why: str) -> None:
        if trainer.global_step != self._saved_step:
            self._save(trainer)
        _checkpoints(trainer).wait()
        if trainer.is_global_zero:
            logger.warning("%s: saved step %d, run again to continue", why, trainer.global_step)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Do not end before the last checkpoint is whole."""
        _checkpoints(trainer).wait()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Let a checkpoint that is being written become whole; never begin one after an error."""
        self._close(trainer)
        try:
            _checkpoints(trainer).wait()
        except Exception as error:  # the first error is the one to be told
            logger.warning("the last checkpoint could not be written: %s", error)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Leave the terminal and the meter's book in order; after an error, Lightning does not come here."""
        self._close(trainer)

    def state_dict(self) -> dict[str, Any]:
        """The latest value of every metric, so that a finished run can tell them again."""
        return {"metrics": self.metrics}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the metrics of the checkpoint."""
        self.metrics = dict(state_dict["metrics"])

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the place in the data and the random generators of all ranks. All ranks come here together."""
        checkpoint["place"] = self._place(trainer.global_step) | {"micro_step": 0}
        checkpoint["world_size"] = trainer.world_size
        checkpoint["random_states"] = random_states.gather(trainer.strategy, trainer.world_size)
        checkpoint["validation_loss"] = self._validation_loss

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take up the random generators, after what the checkpoint says of its place was checked.

        Raises:
            CheckpointError: it contradicts its own step, the data or the configuration.
        """
        step = int(checkpoint["global_step"])
        _refuse_contradictions(step, checkpoint.get("place"), self._place(step) | {"micro_step": 0})
        self._random_states = list(checkpoint["random_states"])
        if checkpoint["world_size"] != trainer.world_size and trainer.is_global_zero:
            logger.warning(
                "going on with %d rank(s) where %d were: the same samples in the same order, sums equal up to rounding",
                trainer.world_size,
                checkpoint["world_size"],
            )

    def _close(self, trainer: pl.Trainer) -> None:
        if trainer.is_global_zero:
            self._meter.save(now=True)
        if self._progress is not None:
            self._progress.close()

    def _save(self, trainer: pl.Trainer) -> None:
        trainer.save_checkpoint(checkpoint_path(self._folder, trainer.global_step))
        self._saved_step = trainer.global_step


def _checkpoints(trainer: pl.Trainer) -> VerifiedCheckpointIO:
    plugin: VerifiedCheckpointIO = trainer.strategy.checkpoint_io
    return plugin


def _due(step: int, every: int, steps: int) -> bool:
    return step % every == 0 or step == steps


def _score(metrics: Mapping[str, float]) -> float | None:
    """The validation loss by which the best checkpoint is known; None if there is none that is finite."""
    found = [metrics[name] for name in _SCORES if name in metrics]
    return found[0] if found and math.isfinite(found[0]) else None


def _refuse_contradictions(step: int, found: Any, expected: Mapping[str, int]) -> None:
    if not isinstance(found, dict):
        raise CheckpointError(f"the checkpoint of step {step} does not say where in the data it stands")
    differing = sorted(
        name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name)
    )
    if differing:
        changes = ", ".join(f"{name} was {found.get(name)}, is {expected.get(name)}" for name in differing)
        raise CheckpointError(
            f"the checkpoint of step {step} contradicts this run ({changes}); remove it, or use another folder"
        )
