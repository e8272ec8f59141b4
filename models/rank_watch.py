"""What one rank of several tells about itself, and how all of them stop at the same step."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.exceptions import SIGTERMException

_MEETING_PLACES = ("/torch/distributed/", "/torch/autograd/")


class RanksError(RuntimeError):
    """Ranks that do not stand at the same step, or one that does not go on."""


class RankWatch(pl.Callback):
    """Notes that the rank goes on; stops all ranks after the same step when one of them is asked to.

    Lightning's own way to stop several ranks exchanges a message inside the signal handler, wherever the training
    happens to be: it can meet another exchange there, and then all wait for ever.
    """

    def __init__(self) -> None:
        """Watch the thread that trains, once it has begun to."""
        self.asked_to_stop = threading.Event()
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

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remember which thread it is."""
        self._thread = threading.get_ident()
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
        """Note that it ended; stop if any rank was asked to. Must come after `Monitor`, which reports the step.

        Raises:
            SIGTERMException: on every rank, after the same step.
        """
        self._note()
        if _largest(trainer, float(self.asked_to_stop.is_set())) and trainer.global_step < trainer.max_steps:
            raise SIGTERMException

    def _note(self) -> None:
        self._beat = time.monotonic()


def _largest(trainer: pl.Trainer, value: float) -> float:
    """The largest of all ranks' values."""
    mine = torch.tensor(value, dtype=torch.float64, device=trainer.strategy.root_device)
    return float(trainer.strategy.reduce(mine, reduce_op="max"))
