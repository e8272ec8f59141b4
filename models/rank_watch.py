"""What one rank of several tells about itself, and how it is asked to stop."""

from __future__ import annotations

import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from models.guarded_step import GuardedStep

_MEETING_PLACES = ("/torch/distributed/", "/torch/autograd/")


class RanksError(RuntimeError):
    """Ranks that do not stand at the same step, or one that does not go on."""


class RankWatch(pl.Callback):
    """Notes that the rank goes on, and passes on the wish to stop from the thread that watches it.

    All ranks then stop after the same step: `GuardedStep` exchanges that wish with the numbers of every step.
    """

    def __init__(self) -> None:
        """Watch the thread that trains, once it has begun to."""
        self.asked_to_stop = threading.Event()
        self._module: GuardedStep | None = None
        self.steps_began = False
        self._thread = 0
        self._beat = time.monotonic()

    @property
    def silent_for(self) -> float:
        """Seconds since the last sign of progress."""
        return time.monotonic() - self._beat

    def whereabouts(self) -> tuple[str, bool]:
        """Where the training stands in its code, and whether it looks as if it waited for other ranks."""
        frame = sys._current_frames().get(self._thread)
        if frame is None:
            return "at its beginning", False
        path, line, name, _ = traceback.extract_stack(frame)[-1]
        waits = any(place in path for place in _MEETING_PLACES)
        return f"in {name} ({Path(path).name}:{line})", waits

    def ask_to_stop(self) -> None:
        """Have all ranks stop after a checkpoint at the next step's end; safe in a signal handler."""
        self.asked_to_stop.set()
        if self._module is not None:
            self._module.stop.signal = signal.SIGTERM

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remember which thread and which training it is."""
        self._thread = threading.get_ident()
        if isinstance(pl_module, GuardedStep):
            self._module = pl_module
        if self.asked_to_stop.is_set():
            self.ask_to_stop()
        self._note()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refuse to begin when ranks found different checkpoints.

        Raises:
            RanksError: on every rank.
        """
        first, last = (
            -int(_largest(trainer, -trainer.global_step)),
            int(_largest(trainer, trainer.global_step)),
        )
        if first != last:
            raise RanksError(
                f"ranks would begin at steps {first} to {last}: they do not see the same checkpoints; "
                f"this one is at {trainer.global_step}"
            )

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Note that a step begins."""
        self._note()
        self.steps_began = True

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Note that it ended."""
        self._note()

    def _note(self) -> None:
        self._beat = time.monotonic()


def _largest(trainer: pl.Trainer, value: float) -> float:
    """The largest of all ranks' values."""
    mine = torch.tensor(value, dtype=torch.float64, device=trainer.strategy.root_device)
    return float(trainer.strategy.reduce(mine, reduce_op="max"))
