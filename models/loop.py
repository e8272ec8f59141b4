"""What every training here shares: checkpoints to resume from, one quiet Lightning trainer, one way to run it."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from pytorch_lightning.strategies import DDPStrategy, Strategy
from torch import Tensor
from torch.utils.data import DataLoader

from models.checkpoint import (
    CheckpointError,
    latest_valid,
    load_state,
    load_weights,
    read_manifest,
    refuse_other_identity,
    remove_leftovers,
)
from models.checkpoint_io import VerifiedCheckpointIO
from models.guarded_step import GuardedStep
from models.monitor import Monitor
from models.rank_watch import RankWatch
from models.ranks_config import RanksConfig
from models.sharding import ShardedStrategy
from models.signals import StopTraining, exit_status

_LAST_RESORT_SECONDS = 60.0


@dataclass(frozen=True)
class Resume:
    """Where a training stands: its folder of checkpoints, the newest valid one, and the step to begin at."""

    checkpoints: Path
    path: Path | None
    begin: int

    def weights(self) -> dict[str, Tensor]:
        """The weights of the checkpoint; there must be one."""
        return load_weights(self._there())

    def metrics(self) -> dict[str, float]:
        """The last metrics told before the checkpoint; there must be one."""
        return dict(load_state(self._there())["callbacks"][Monitor.__qualname__]["metrics"])

    def _there(self) -> Path:
        if self.path is None:
            raise CheckpointError(f"{self.checkpoints}: there is no checkpoint yet")
        return self.path


def open_checkpoints(folder: Path, identity: Mapping[str, str]) -> Resume:
    """Find where `folder` stands; makes its place for checkpoints, removes half-written ones.

    Raises:
        IdentityError: the newest checkpoint belongs to another run.
    """
    checkpoints = folder / "checkpoints"
    checkpoints.mkdir(parents=True, exist_ok=True)
    remove_leftovers(checkpoints)
    path = latest_valid(checkpoints)
    if path is None:
        return Resume(checkpoints, None, 0)
    refuse_other_identity(path, identity)
    return Resume(checkpoints, path, int(read_manifest(path)["step"]))


def make_trainer(
    folder: Path, steps: int, checkpoint_io: VerifiedCheckpointIO, ranks: RanksConfig | None = None
) -> pl.Trainer:
    """A trainer that logs nothing, saves nothing by itself and takes the ranks that torchrun started."""
    number = ranks_here()
    local = int(os.environ.get("LOCAL_WORLD_SIZE", str(number)))
    return pl.Trainer(
        max_steps=steps,
        max_epochs=-1,
        accelerator="auto",
        devices=local if number > 1 else 1,
        num_nodes=max(1, number // local),
        strategy=_strategy(number, ranks or RanksConfig()) if number > 1 else "auto",
        # said outright: inside a batch job Lightning would take the scheduler's word for how many ranks there are
        plugins=[checkpoint_io, TorchElasticEnvironment() if number > 1 else LightningEnvironment()],
        default_root_dir=str(folder),
        logger=False,
        enable_checkpointing=False,  # Lightning's own callback, that is; Monitor saves through our plugin
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def ranks_here() -> int:
    """How many processes train together, as torchrun, which starts each rank's process, tells them."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def _strategy(number: int, ranks: RanksConfig) -> Strategy:
    # only for ranks that nobody watches: a watched one is given up earlier, with a name
    timeout = timedelta(seconds=ranks.timeout_seconds + _LAST_RESORT_SECONDS)
    return ShardedStrategy(number, timeout) if ranks.strategy == "fsdp" else DDPStrategy(timeout=timeout)


def fit(
    trainer: pl.Trainer,
    module: GuardedStep,
    loader: DataLoader[Any],
    monitor: Monitor,
    resume: Resume,
    watch: RankWatch | None = None,
) -> dict[str, float]:
    """Run from where `resume` stands to the last step; return the last metrics. `watch` stops ranks together.

    Raises:
        CheckpointError: the loop ended early without an error.
        SystemExit: on SIGTERM (status 143), SIGINT (130) and SIGHUP (129), after a checkpoint at the next step's
            border; a second signal ends the process at once.
    """
    watches = [] if watch is None else [watch]
    trainer.callbacks += [monitor, *watches]  # type: ignore[attr-defined]
    # Lightning's handler broadcasts to other ranks from within the signal, and calls ours at every second one
    trainer._signal_connector.register_signal_handlers = lambda: None
    with module.stop.listening():
        try:
            trainer.fit(module, loader, ckpt_path=None if resume.path is None else str(resume.path))
        except StopTraining as stopped:
            raise SystemExit(stopped.status) from None
    if module.stop.signal:  # it came too late for this training, not for the process
        raise SystemExit(exit_status(module.stop.signal))
    if trainer.global_step != trainer.max_steps:
        raise CheckpointError(
            f"training ended at step {trainer.global_step} of {trainer.max_steps} without an error"
        )
    return monitor.metrics


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Hold back Lightning's chatter about hardware and loaders; its warnings about real trouble remain."""
    talkers = [
        logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch")
    ]
    levels = [talker.level for talker in talkers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=pl.utilities.warnings.PossibleUserWarning)
        warnings.filterwarnings("ignore", module=r"pytorch_lightning\.utilities\._pytree")
        try:
            for talker in talkers:
                talker.setLevel(logging.WARNING)
            yield
        finally:
            for talker, level in zip(talkers, levels, strict=True):
                talker.setLevel(level)
