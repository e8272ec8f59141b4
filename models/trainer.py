"""Pre-training with Lightning: one call that starts, resumes or finishes a run.

Killed at any moment and called again, it gives bitwise the weights of an undisturbed run on the same machine:
window order, masks and learning rate are pure functions of the step, and a checkpoint holds all that is not.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from models.accumulation import settled
from models.budget import BudgetConfig
from models.checkpoint_io import VerifiedCheckpointIO
from models.config import ModelConfig
from models.execution import maybe_compile, reproducible, resolve_precision, training_flops
from models.flops import pretraining_flops
from models.loader import WindowSampler, training_loader
from models.loop import Resume, fit, make_trainer, open_checkpoints, quiet_lightning, ranks_here
from models.meter import Meter
from models.monitor import Monitor, OnMetrics
from models.objectives import Trunk
from models.pretraining import PARAMETER_PREFIX, NonFiniteError, Pretraining
from models.rank_watch import RankWatch
from models.ranks_config import RanksConfig, refuse_uneven
from models.seen import documents_of
from models.sharding import ShardedCheckpointIO, ShardedStrategy
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
    ranks: RanksConfig | None = None,
    watch: RankWatch | None = None,
    budget: BudgetConfig | None = None,
) -> TrainingResult:
    """Train a model on a split of `shards`, from scratch or from where `folder` stands.

    Called by every process that torchrun starts, with equal arguments, it trains with all of them together.

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
        ranks: how several ranks share the work; how many there are, torchrun says.
        watch: told of progress, and asked whether to stop.
        budget: what the training may take, all attempts together; it decides nothing of the result.

    Raises:
        BudgetError: a cap is reached; the step is saved.
        ValueError: configurations that do not fit together or with the shards (`ShardError`).
        IdentityError: the checkpoints in `folder` belong to another run.
        CheckpointError: a checkpoint could not be written.
        NonFiniteError: the loss or gradient of a step was not finite; `checkpoints/bad_batches.json` in `folder`
            names the documents.
        SystemExit: on SIGTERM (status 143), SIGINT (130) and SIGHUP (129), after a checkpoint at the next step's end.

    """
    shard = TokenShard(shards, split)
    _check_fit(model_config, training_config, shard)
    whole_identity = run_identity(model_config, training_config, identity)
    resume = open_checkpoints(folder, whole_identity)
    training_config = settled(
        model_config,
        training_config,
        resume.checkpoints,
        ranks=ranks_here(),
        taken_up=resume.path is not None,
    )
    model = LanguageModel(model_config, seed=training_config.seed)
    if initial is not None:
        model.load_state_dict(initial)
    if resume.begin >= training_config.steps:
        model.load_state_dict(resume.weights())
        return _result(model, training_config, resume.metrics(), resume.begin)
    with reproducible(training_config.threads), quiet_lightning():
        call = _Call(
            model,
            training_config,
            shard,
            folder,
            on_metrics,
            whole_identity,
            progress,
            ranks,
            watch,
            budget or BudgetConfig(),
        )
        metrics = _fit(call, resume)
    if isinstance(next(model.parameters()), DTensor):
        model = LanguageModel(model_config, seed=None)
        model.load_state_dict(open_checkpoints(folder, whole_identity).weights())
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


class _Call(NamedTuple):
    """What `train` was asked for."""

    model: LanguageModel
    config: TrainingConfig
    shard: TokenShard
    folder: Path
    on_metrics: OnMetrics
    identity: Mapping[str, str]
    progress: bool | None
    ranks: RanksConfig | None
    watch: RankWatch | None
    budget: BudgetConfig


def _fit(call: _Call, resume: Resume) -> dict[str, float]:
    """Run Lightning from `resume` (or the start) to the last step; return the last metrics."""
    model, config = call.model, call.config
    trainer = make_trainer(call.folder, config.steps, _checkpoint_io(call), call.ranks)
    refuse_uneven(config.batch_size, config.gradient_accumulation, trainer.world_size)
    precision = resolve_precision(config.precision, trainer.strategy.root_device)
    sampler = WindowSampler(
        call.shard,
        context_length=config.context_length,
        batch_size=config.batch_size,
        seed=config.seed,
        rank=trainer.global_rank,
        ranks=trainer.world_size,
    )
    monitor = Monitor(
        folder=resume.checkpoints,
        steps=config.steps,
        per_step=config.batch_size * config.context_length,
        checkpoint_every=config.checkpoint_every,
        validate_every=config.validate_every,
        validate=_validator(call, trainer, precision),
        place=lambda step: sampler.place(step) | config.mixture,
        on_metrics=call.on_metrics,
        progress=call.progress,
        meter=_meter(call, trainer, resume, precision),
    )

    def blame(step: int, ranks: Sequence[int]) -> str:
        return _name_bad_batch(resume.checkpoints / BAD_BATCHES, call.shard, sampler, config, step, ranks)

    trunk = _trunk(model, config, trainer)
    module = Pretraining(model, config, trunk, precision, model.config.mask_token_id or 0, blame)
    loader = training_loader(sampler, lambda: trainer.global_step)
    return fit(trainer, module, loader, monitor, resume, call.watch)


def _meter(call: _Call, trainer: pl.Trainer, resume: Resume, precision: torch.dtype) -> Meter:
    step_flops = pretraining_flops(call.model.config, call.config)
    return Meter(
        resume.checkpoints,
        steps=call.config.steps,
        flops=lambda _batch: step_flops,
        budget=call.budget,
        device=trainer.strategy.root_device,
        precision=precision,
        ranks=trainer.world_size,
    )


def _checkpoint_io(call: _Call) -> VerifiedCheckpointIO:
    background = call.config.checkpoint_async
    if call.ranks is None or call.ranks.strategy != "fsdp" or ranks_here() == 1:
        return VerifiedCheckpointIO(call.identity, PARAMETER_PREFIX, background=background)
    if background:
        raise ValueError("checkpoint_async does not go with the strategy fsdp; set it to false")
    return ShardedCheckpointIO(call.identity, PARAMETER_PREFIX)


def _trunk(model: LanguageModel, config: TrainingConfig, trainer: pl.Trainer) -> Trunk:
    """The trunk or its compiled twin; one that ranks hold in parts is not compiled."""
    choice = config.compile
    if isinstance(trainer.strategy, ShardedStrategy):
        if choice == "on":
            raise ValueError("compile: on does not go with the strategy fsdp; set it to auto or off")
        choice = "off"
    return maybe_compile(model.model, choice, training_flops(model.config, config))


def _validator(call: _Call, trainer: pl.Trainer, precision: torch.dtype) -> Callable[[], dict[str, float]]:
    """Validation on the first rank, the others waiting; or on all alike, where each holds a part of the model."""
    shard = TokenShard(call.shard.folder, "validation")

    def measured() -> dict[str, float]:
        if isinstance(trainer.strategy, ShardedStrategy):
            with trainer.strategy.gathered():
                return validate(call.model, shard, call.config, precision)
        return validate(call.model, shard, call.config, precision) if trainer.is_global_zero else {}

    return measured


def _name_bad_batch(
    path: Path,
    shard: TokenShard,
    sampler: WindowSampler,
    config: TrainingConfig,
    step: int,
    ranks: Sequence[int],
) -> str:
    """Write down which documents the failed step read, for whoever looks into it, and say where.

    The file lies among the checkpoints, since these outlive a stage that fails.
    """
    windows = sampler.windows_of(step)
    report = {
        "step": step + 1,
        "ranks": list(ranks),
        "context_length": config.context_length,
        "first_tokens": windows.tolist(),
        "documents": documents_of(shard, windows, config.context_length),
    }
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return f": {path} names the documents"


def _result(
    model: LanguageModel, config: TrainingConfig, metrics: dict[str, float], begin: int
) -> TrainingResult:
    tokens = config.steps * config.batch_size * config.context_length
    if not all(math.isfinite(value) for name, value in metrics.items() if name == "loss"):
        raise NonFiniteError(f"the loss of the last step is {metrics['loss']}")
    return TrainingResult(model.eval(), config.steps, tokens, metrics, begin)
