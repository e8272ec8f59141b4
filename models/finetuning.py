"""Fine-tuning with Lightning: a head over a pretrained trunk, taught with labels.

Killed at any moment and called again it gives the weights of an undisturbed run, as pretraining does: batches
and learning rate are pure functions of the step, and a verified checkpoint holds the rest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from models.budget import BudgetConfig
from models.checkpoint_io import VerifiedCheckpointIO
from models.examples import Example, ExampleSampler, example_loader
from models.execution import reproducible, resolve_precision
from models.finetuning_config import FineTuningConfig
from models.flops import finetuning_flops
from models.guarded_step import PARAMETER_PREFIX, GuardedStep
from models.heads import TRANSLATION, ExampleBatch
from models.loop import Resume, fit, make_trainer, open_checkpoints, quiet_lightning
from models.meter import Meter
from models.monitor import Monitor, OnMetrics
from models.scoring import autocast
from models.training_config import RUNTIME_FIELDS

HeadT = TypeVar("HeadT", bound=nn.Module)
_NAMED = 32  # labelled rows of a batch that is not finite


@dataclass(frozen=True)
class FineTuned(Generic[HeadT]):
    """A taught head and what there is to say about it."""

    head: HeadT
    metrics: dict[str, float]  # the last value of each, speed excepted
    resumed_from: int


def finetune(
    head: HeadT,
    examples: Sequence[Example],
    config: FineTuningConfig,
    folder: Path,
    *,
    pad_id: int,
    on_metrics: OnMetrics,
    identity: Mapping[str, str],
    validate: Callable[[HeadT], dict[str, float]],
    progress: bool | None = None,
    budget: BudgetConfig | None = None,
) -> FineTuned[HeadT]:
    """Teach `head` the examples, from its present weights or from where `folder` stands.

    Args:
        head: any of `models.heads`; changed in place.
        examples: what it learns from.
        config: everything else that decides the result.
        folder: where checkpoints go; one process at a time.
        pad_id: the token that fills short examples up.
        on_metrics: called with (step from 1, metrics) after every step.
        identity: what tells this run from others: digests of the base model and of the examples.
        validate: measures the head, in evaluation mode, on examples it does not learn from.
        progress: a bar (True), log lines (False), or by whether standard error is a terminal (None).
        budget: what the training may take, all attempts together; it decides nothing of the result.

    Raises:
        BudgetError: a cap is reached; the step is saved.
        ValueError: there is no example.
        IdentityError: the checkpoints in `folder` belong to another run.
        NonFiniteError: the loss or gradient of a step was not finite; the weights are those of the step before.
        SystemExit: on SIGTERM (status 143), SIGINT (130) and SIGHUP (129), after a checkpoint at the next step's end.
    """
    sampler = ExampleSampler(examples, batch_size=config.batch_size, pad_id=pad_id, seed=config.seed)
    fixed = config.model_dump(mode="json", exclude=set(RUNTIME_FIELDS))
    whole = {f"finetuning.{name}": json.dumps(value) for name, value in fixed.items()}
    whole |= dict(identity)
    resume = open_checkpoints(folder, whole)
    if resume.begin >= config.steps:
        head.load_state_dict(resume.weights())
        return FineTuned(head.eval(), resume.metrics(), resume.begin)
    with reproducible(config.threads), quiet_lightning():
        checkpoints = VerifiedCheckpointIO(whole, PARAMETER_PREFIX, background=config.checkpoint_async)
        trainer = make_trainer(folder, config.steps, checkpoints)
        if trainer.world_size > 1:
            raise ValueError("fine-tuning runs on one rank; start it without torchrun")
        metrics = _fit(
            trainer, head, sampler, config, resume, on_metrics, validate, progress, budget or BudgetConfig()
        )
    return FineTuned(head.eval(), metrics, resume.begin)


def _fit(
    trainer: pl.Trainer,
    head: HeadT,
    sampler: ExampleSampler,
    config: FineTuningConfig,
    resume: Resume,
    on_metrics: OnMetrics,
    validate: Callable[[HeadT], dict[str, float]],
    progress: bool | None,
    budget: BudgetConfig,
) -> dict[str, float]:
    precision = resolve_precision(config.precision, trainer.strategy.root_device)

    def measured() -> dict[str, float]:
        head.eval()
        try:
            with torch.no_grad():
                return validate(head)
        finally:
            head.train()

    monitor = Monitor(
        folder=resume.checkpoints,
        steps=config.steps,
        per_step=config.batch_size,
        counted="examples",
        checkpoint_every=config.checkpoint_every,
        validate_every=config.validate_every,
        validate=measured,
        place=sampler.place,
        on_metrics=on_metrics,
        progress=progress,
        meter=_meter(trainer, head, resume, config, budget, precision),
    )

    def blame(step: int, _ranks: list[int]) -> str:
        rows = sampler.rows(step)
        more = f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
        return f": the labelled rows {', '.join(rows[:_NAMED])}{more}"

    loader = example_loader(sampler, lambda: trainer.global_step)
    return fit(trainer, FineTuning(head, config, precision, blame), loader, monitor, resume)


def _meter(
    trainer: pl.Trainer,
    head: nn.Module,
    resume: Resume,
    config: FineTuningConfig,
    budget: BudgetConfig,
    precision: torch.dtype,
) -> Meter:
    network: Any = head
    words = network.task == TRANSLATION

    def flops(batch: ExampleBatch) -> float:
        rows, tokens = batch.input_ids.shape
        return finetuning_flops(network.model.config, rows, tokens, words=words)

    device = trainer.strategy.root_device
    return Meter(
        resume.checkpoints, steps=config.steps, flops=flops, budget=budget, device=device, precision=precision
    )


class FineTuning(GuardedStep):
    """One optimiser step per batch, as `GuardedStep` does it. One module for every head of `models.heads`."""

    def accumulate(self, batch: ExampleBatch) -> Tensor:
        """Leave the gradients of the batch in the parameters; return its loss."""
        (loss,) = self.losses(batch)
        self.manual_backward(loss)
        return loss.detach().double().reshape(1)

    def losses(self, batch: ExampleBatch) -> Iterator[Tensor]:
        """The one loss of the batch."""
        head: Any = self.network
        with autocast(self.device, self._precision):
            loss = head.loss(batch)
        yield loss
