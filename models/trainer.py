"""Pre-training with Lightning: one call that starts, resumes or finishes a run.

Killed at any moment and called again, it gives bitwise the weights of an undisturbed run on the same machine:
window order, masks and learning rate are pure functions of the step, and a checkpoint holds all that is not.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from models.accumulation import settled
from models.budget import BudgetConfig
from models.checkpoint import VerifiedCheckpointIO
from models.config import ModelConfig
from models.execution import maybe_compile, reproducible, resolve_precision, training_flops
from models.flops import pretraining_flops
from models.loader import WindowSampler, training_loader
from models.loop import Resume, fit, make_trainer, open_checkpoints, quiet_lightning
from models.meter import Meter
from models.monitor import Monitor, OnMetrics
from models.pretraining import PARAMETER_PREFIX, NonFiniteError, Pretraining
from models.shards import TokenShard
from models.training_config import RUNTIME_FIELDS, TrainingConfig
from models.transformer import LanguageModel
from models.validation_loss import validate

BAD_BATCHES = "bad_batches.json"


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
    initial: Mapping[str, Tensor] | None = None,
    split: str = "train",
    progress: bool | None = None,
    budget: BudgetConfig | None = None,
) -> TrainingResult:
    """Train a model on a split of `shards`, from scratch or from where `folder` stands.

    Args:
        model_config: the network's shape.
        training_config: everything else that decides the result.
        shards: a folder as `TokenShard` reads it, with the splits `train` and `validation`.
        folder: where checkpoints go; one process at a time.
        on_metrics: called with (step from 1, metrics) after every step, on the calling thread. After a crash
            the steps since the last checkpoint come again, with equal numbers.
        identity: what else tells this run from others, say digests of the data and the tokenizer.
        initial: weights to begin with, to go on learning; `identity` must tell them. New ones by default.
        split: the shard to learn from.
        progress: a bar (True), log lines (False), or by whether standard error is a terminal (None).
        budget: what the training may take, all attempts together; it decides nothing of the result.

    Raises:
        BudgetError: a cap is reached; the step is saved.
        ValueError: configurations that do not fit together or with the shards (`ShardError`).
        IdentityError: the checkpoints in `folder` belong to another run.
        CheckpointError: a checkpoint could not be written.
        NonFiniteError: the loss or gradient of a step was not finite.
        SystemExit: with status 143, on SIGTERM, after a checkpoint at the next step's end.

    """
    shard = TokenShard(shards, split)
    _check_fit(model_config, training_config, shard)
    whole_identity = run_identity(model_config, training_config, identity)
    resume = open_checkpoints(folder, whole_identity)
    training_config = settled(
        model_config,
        training_config,
        resume.checkpoints,
        ranks=int(os.environ.get("WORLD_SIZE", "1")),
        taken_up=resume.path is not None,
    )
    model = LanguageModel(model_config, seed=training_config.seed)
    if initial is not None:
        model.load_state_dict(initial)
    if resume.begin >= training_config.steps:
        model.load_state_dict(resume.weights())
        return _result(model, training_config, resume.metrics(), resume.begin)
    with reproducible(training_config.threads), quiet_lightning():
        metrics = _fit(
            model,
            training_config,
            shard,
            folder,
            resume,
            on_metrics,
            whole_identity,
            progress,
            budget or BudgetConfig(),
        )
    return _result(model, training_config, metrics, resume.begin)


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
    folder: Path,
    resume: Resume,
    on_metrics: OnMetrics,
    identity: Mapping[str, str],
    progress: bool | None,
    budget: BudgetConfig,
) -> dict[str, float]:
    """Run Lightning from `resume` (or the start) to the last step; return the last metrics."""
    trainer = make_trainer(folder, config.steps, VerifiedCheckpointIO(identity, PARAMETER_PREFIX))
    device = trainer.strategy.root_device
    precision = resolve_precision(config.precision, device)
    step_flops = pretraining_flops(model.config, config)
    meter = Meter(
        resume.checkpoints,
        steps=config.steps,
        flops=lambda _batch: step_flops,
        budget=budget,
        device=device,
        precision=precision,
        ranks=trainer.world_size,
    )
    monitor = Monitor(
        folder=resume.checkpoints,
        steps=config.steps,
        per_step=config.batch_size * config.context_length,
        checkpoint_every=config.checkpoint_every,
        validate_every=config.validate_every,
        validate=_validator(model, shard.folder, config, precision),
        on_metrics=on_metrics,
        progress=progress,
        meter=meter,
    )
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
        return fit(trainer, module, loader, monitor, resume)
    except NonFiniteError:
        _name_bad_batch(folder / BAD_BATCHES, sampler, trainer.global_step, config)
        raise


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
