"""Pre-training with Lightning: one call that starts, resumes or finishes a run.

Killed at any moment and called again, it gives bitwise the weights of an undisturbed run on the same machine:
window order, masks and learning rate are pure functions of the step, and a checkpoint holds all that is not.
"""

from __future__ import annotations

import json
import logging
import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.exceptions import SIGTERMException

from models.checkpoint import (
    CheckpointError,
    VerifiedCheckpointIO,
    latest_valid,
    load_state,
    load_weights,
    read_manifest,
    refuse_other_identity,
    remove_leftovers,
)
from models.config import ModelConfig
from models.execution import maybe_compile, reproducible, resolve_precision, training_flops
from models.loader import WindowSampler, training_loader
from models.monitor import Monitor, OnMetrics
from models.pretraining import PARAMETER_PREFIX, NonFiniteError, Pretraining
from models.shards import TokenShard
from models.training_config import RUNTIME_FIELDS, TrainingConfig
from models.transformer import LanguageModel
from models.validation_loss import validate

BAD_BATCHES = "bad_batches.json"
TERMINATED = 143
"""Exit status after SIGTERM: 128 and the number of the signal."""


@dataclass(frozen=True)
class TrainingResult:
    """A trained model and what there is to say about it."""

    model: LanguageModel
    steps: int
    tokens: int
    metrics: dict[str, float]  # the last value of each, speed excepted: the same on every machine-equal rerun
    resumed_from: int  # the step this call began at


def train(
    model_config: ModelConfig,
    training_config: TrainingConfig,
    shards: Path,
    folder: Path,
    *,
    on_metrics: OnMetrics,
    identity: Mapping[str, str],
    progress: bool | None = None,
) -> TrainingResult:
    """Train a model on the `train` split of `shards`, from scratch or from where `folder` stands.

    Args:
        model_config: the network's shape.
        training_config: everything else that decides the result.
        shards: a folder as `TokenShard` reads it, with the splits `train` and `validation`.
        folder: where checkpoints go; one process at a time.
        on_metrics: called with (step from 1, metrics) after every step, on the calling thread. After a crash
            the steps since the last checkpoint come again, with equal numbers.
        identity: what else tells this run from others, say digests of the data and the tokenizer.
        progress: a bar (True), log lines (False), or by whether standard error is a terminal (None).

    Raises:
        ValueError: configurations that do not fit together or with the shards (`ShardError`).
        IdentityError: the checkpoints in `folder` belong to another run.
        CheckpointError: a checkpoint could not be written.
        NonFiniteError: the loss or gradient of a step was not finite.
        SystemExit: with status 143, on SIGTERM, after a checkpoint at the next step's end.

    """
    shard = TokenShard(shards, "train")
    _check_fit(model_config, training_config, shard)
    whole_identity = run_identity(model_config, training_config, identity)
    checkpoints = folder / "checkpoints"
    checkpoints.mkdir(parents=True, exist_ok=True)
    remove_leftovers(checkpoints)
    resume = latest_valid(checkpoints)
    if resume is not None:
        refuse_other_identity(resume, whole_identity)
    model = LanguageModel(model_config, seed=training_config.seed)
    begin = 0 if resume is None else int(read_manifest(resume)["step"])
    if resume is not None and begin >= training_config.steps:
        model.load_state_dict(load_weights(resume))
        metrics = dict(load_state(resume)["callbacks"][Monitor.__qualname__]["metrics"])
        return _result(model, training_config, metrics, begin)
    with reproducible(training_config.threads), _quiet_lightning():
        metrics = _fit(
            model, training_config, shard, checkpoints, resume, on_metrics, whole_identity, progress
        )
    return _result(model, training_config, metrics, begin)


def run_identity(model: ModelConfig, training: TrainingConfig, identity: Mapping[str, str]) -> dict[str, str]:
    """Every value that decides a run's result, by name; `RUNTIME_FIELDS` are left out."""
    values = {f"model.{name}": value for name, value in model.model_dump(mode="json").items()}
    values |= {
        f"training.{name}": value
        for name, value in training.model_dump(mode="json").items()
        if name not in RUNTIME_FIELDS
    }
    return {name: json.dumps(value) for name, value in values.items()} | dict(identity)


def _check_fit(model: ModelConfig, training: TrainingConfig, shard: TokenShard) -> None:
    if training.context_length > model.max_position_embeddings:
        raise ValueError(
            f"context_length ({training.context_length}) exceeds the model's max_position_embeddings "
            f"({model.max_position_embeddings})"
        )
    if shard.vocab_size > model.vocab_size:
        raise ValueError(
            f"the shards' vocabulary ({shard.vocab_size}) exceeds the model's ({model.vocab_size})"
        )
    if training.objective != "causal" and model.mask_token_id is None:
        raise ValueError(f"the objective {training.objective} needs a model with a mask_token_id")


def _fit(
    model: LanguageModel,
    config: TrainingConfig,
    shard: TokenShard,
    checkpoints: Path,
    resume: Path | None,
    on_metrics: OnMetrics,
    identity: Mapping[str, str],
    progress: bool | None,
) -> dict[str, float]:
    """Run Lightning from `resume` (or the start) to the last step; return the last metrics."""
    trainer = _make_trainer(
        checkpoints.parent, config.steps, VerifiedCheckpointIO(identity, PARAMETER_PREFIX)
    )
    device = trainer.strategy.root_device
    precision = resolve_precision(config.precision, device)
    monitor = Monitor(
        folder=checkpoints,
        steps=config.steps,
        tokens_per_step=config.batch_size * config.context_length,
        checkpoint_every=config.checkpoint_every,
        validate_every=config.validate_every,
        validate=_validator(model, shard.folder, config, precision),
        on_metrics=on_metrics,
        progress=progress,
    )
    trainer.callbacks.append(monitor)  # type: ignore[attr-defined]
    trunk = maybe_compile(model.model, config.compile, training_flops(model.config, config))
    module = Pretraining(model, config, trunk, precision, model.config.mask_token_id or 0)
    sampler = WindowSampler(
        shard,
        context_length=config.context_length,
        batch_size=config.batch_size,
        seed=config.seed,
        rank=trainer.global_rank,
        ranks=trainer.world_size,
    )
    loader = training_loader(sampler, lambda: trainer.global_step)
    try:
        trainer.fit(module, loader, ckpt_path=None if resume is None else str(resume))
    except NonFiniteError:
        _name_bad_batch(checkpoints.parent / BAD_BATCHES, sampler, trainer.global_step, config)
        raise
    except SIGTERMException:
        raise SystemExit(
            TERMINATED
        ) from None  # Lightning's own exception would end the process with status 0
    if trainer.global_step != config.steps:
        raise CheckpointError(
            f"training ended at step {trainer.global_step} of {config.steps} without an error"
        )
    return monitor.metrics


def _make_trainer(folder: Path, steps: int, checkpoint_io: VerifiedCheckpointIO) -> pl.Trainer:
    ranks = int(
        os.environ.get("WORLD_SIZE", "1")
    )  # set by torchrun, which starts this function once per rank
    local = int(os.environ.get("LOCAL_WORLD_SIZE", str(ranks)))
    return pl.Trainer(
        max_steps=steps,
        max_epochs=-1,
        accelerator="auto",
        devices=local if ranks > 1 else 1,
        num_nodes=max(1, ranks // local),
        strategy="ddp" if ranks > 1 else "auto",
        plugins=[checkpoint_io],
        default_root_dir=str(folder),
        logger=False,
        enable_checkpointing=False,  # Lightning's own callback, that is; Monitor saves through our plugin
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _validator(
    model: LanguageModel, shards: Path, config: TrainingConfig, precision: torch.dtype
) -> Callable[[], dict[str, float]]:
    shard = TokenShard(shards, "validation")
    return lambda: validate(model, shard, config, precision)


def _name_bad_batch(path: Path, sampler: WindowSampler, step: int, config: TrainingConfig) -> None:
    """Write down which windows of the training tokens the failed step read, for whoever looks into it."""
    windows = [int(offset) for offset in sampler.windows_of(step)]
    report = {"step": step + 1, "context_length": config.context_length, "first_tokens": windows}
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def _result(
    model: LanguageModel, config: TrainingConfig, metrics: dict[str, float], begin: int
) -> TrainingResult:
    tokens = config.steps * config.batch_size * config.context_length
    if not all(math.isfinite(value) for name, value in metrics.items() if name == "loss"):
        raise NonFiniteError(f"the loss of the last step is {metrics['loss']}")
    return TrainingResult(model.eval(), config.steps, tokens, metrics, begin)


@contextmanager
def _quiet_lightning() -> Iterator[None]:
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
