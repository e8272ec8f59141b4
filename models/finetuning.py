"""Fine-tuning with Lightning: a head over a pretrained trunk, taught with labels.

Killed at any moment and called again it gives the weights of an undisturbed run, as pretraining does: batches
and learning rate are pure functions of the step, and a verified checkpoint holds the rest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import pytorch_lightning as pl
import torch
from torch import nn

from models.budget import BudgetConfig
from models.checkpoint import VerifiedCheckpointIO
from models.examples import Example, ExampleSampler, example_loader
from models.execution import reproducible, resolve_precision
from models.finetuning_config import FineTuningConfig
from models.flops import finetuning_flops
from models.heads import TRANSLATION, ExampleBatch
from models.loop import Resume, fit, make_trainer, open_checkpoints, quiet_lightning
from models.meter import Meter
from models.monitor import Monitor, OnMetrics
from models.optimiser import MuonAdamW, make_optimiser
from models.pretraining import PARAMETER_PREFIX, NonFiniteError
from models.scoring import autocast
from models.training_config import RUNTIME_FIELDS, learning_rate_factor

HeadT = TypeVar("HeadT", bound=nn.Module)


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
        SystemExit: with status 143, on SIGTERM, after a checkpoint at the next step's end.
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
        trainer = make_trainer(folder, config.steps, VerifiedCheckpointIO(whole, PARAMETER_PREFIX))
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
        on_metrics=on_metrics,
        progress=progress,
        meter=_meter(trainer, head, resume, config, budget, precision),
    )
    loader = example_loader(sampler, lambda: trainer.global_step)
    return fit(trainer, FineTuning(head, config, precision), loader, monitor, resume)


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


class FineTuning(pl.LightningModule):
    """One optimiser step per batch: loss, clip, refuse what is not finite, step. One module for every head."""

    def __init__(self, network: nn.Module, config: FineTuningConfig, precision: torch.dtype) -> None:
        """Train `network`, a head of `models.heads`."""
        super().__init__()
        self.automatic_optimization = False
        self.network, self._config, self._precision = network, config, precision

    def configure_optimizers(self) -> MuonAdamW:
        """Make the one optimiser; its rates are set anew in every step."""
        return make_optimiser(self.network, self._config, orthogonal_dtype=self._precision)

    def training_step(self, batch: ExampleBatch, batch_idx: int) -> dict[str, Any]:
        """Do one optimiser step.

        Raises:
            NonFiniteError: before the optimiser touches the weights.
        """
        plain: Any = self.optimizers(use_pl_optimizer=False)
        plain.set_learning_rates(learning_rate_factor(self._config, batch.step))
        plain.zero_grad(set_to_none=True)
        head: Any = self.network
        with autocast(self.device, self._precision):
            loss = head.loss(batch)
        self.manual_backward(loss)
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self._config.gradient_clip)
        if not bool(torch.isfinite(norm) & torch.isfinite(loss)):
            raise NonFiniteError(
                f"step {batch.step + 1}: loss {loss.item()}, gradient norm {norm.item()}; the weights were not "
                "updated. Lower the learning rate, or look at the examples of this step"
            )
        stepper: Any = self.optimizers()
        stepper.step()
        return {"loss": loss.detach(), "gradient_norm": norm, "learning_rate": plain.param_groups[0]["lr"]}
