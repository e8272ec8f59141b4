"""One optimiser step, as Lightning sees it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import ParallelStrategy
from torch import Tensor

from models.linear_cross_entropy import output_head
from models.loader import Batch
from models.objectives import StepLoss, Trunk, step_loss
from models.optimiser import MuonAdamW, make_optimiser
from models.scoring import autocast
from models.training_config import TrainingConfig, learning_rate_factor
from models.transformer import LanguageModel

OBJECTIVES = ("causal", "masked")

PARAMETER_PREFIX = "network."
"""What Lightning puts before the names of the model's parameters: the attribute that holds it below."""


class NonFiniteError(FloatingPointError):
    """The loss or the gradient became NaN or infinite; the weights are still those of the step before."""


class Pretraining(pl.LightningModule):
    """One optimiser step per batch: accumulate micro-batches, clip, refuse what is not finite, step.

    Lightning's manual optimisation, so that its step, its batch and ours are the same thing: there is no
    state between micro-batches to save, and a signal is always obeyed at a step's border.
    """

    def __init__(
        self,
        network: LanguageModel,
        config: TrainingConfig,
        trunk: Trunk,
        precision: torch.dtype,
        mask_id: int,
    ) -> None:
        """Train `network` through `trunk`, which is its trunk or the compiled twin of it."""
        super().__init__()
        self.automatic_optimization = False
        self.network, self._config = network, config
        self._trunk = (trunk,)  # in a tuple, lest a compiled twin be registered as a second submodule
        self._precision, self._mask_id = precision, mask_id

    def configure_optimizers(self) -> MuonAdamW:
        """Make the one optimiser; its rates are set anew in every step."""
        return make_optimiser(self.network, self._config, orthogonal_dtype=self._precision)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """Do one optimiser step on (B, T + 1) ids.

        Raises:
            NonFiniteError: before the optimiser touches the weights.

        """
        plain: Any = self.optimizers(use_pl_optimizer=False)
        factor = learning_rate_factor(self._config, batch.step)
        plain.set_learning_rates(factor)
        plain.zero_grad(set_to_none=True)
        metrics = self._accumulate(batch)
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self._config.gradient_clip)
        if not bool(torch.isfinite(norm) & torch.isfinite(metrics["loss"])):
            raise NonFiniteError(
                f"step {batch.step + 1}: loss {float(metrics['loss'])}, gradient norm {float(norm)}; "
                "the weights were not updated. Lower the learning rates, or look at the text of this step"
            )
        stepper: Any = self.optimizers()
        stepper.step()
        return {**metrics, "gradient_norm": norm, "learning_rate": plain.param_groups[0]["lr"]}

    def _accumulate(self, batch: Batch) -> dict[str, Tensor]:
        """Add up the gradients of all micro-batches; return the losses of the whole batch."""
        parts = self._micro_batches(batch)
        totals = torch.zeros(1 + 2 * len(OBJECTIVES), device=self.device, dtype=torch.float64)
        for number, part in enumerate(parts, start=1):
            with autocast(self.device, self._precision):
                result = step_loss(
                    self._trunk[0], output_head(self.network), part, self._config, self._mask_id
                )
            with self._local_unless(number == len(parts)):
                self.manual_backward(result.loss / len(parts))
            totals += _as_totals(result, len(parts))
        if self.trainer.world_size > 1:
            totals = self.trainer.strategy.reduce(totals, reduce_op="mean")
        return _as_metrics(totals, self.trainer.world_size)

    def _micro_batches(self, batch: Batch) -> list[Batch]:
        rows = len(batch.tokens)
        size = max(1, rows // self._config.micro_batches)
        return [
            Batch(batch.tokens[start : start + size], batch.step, batch.first_row + start)
            for start in range(0, rows, size)
        ]

    def _local_unless(self, last: bool) -> AbstractContextManager[Any]:
        """Let ranks exchange gradients in the last micro-batch only."""
        strategy = self.trainer.strategy
        return (
            strategy.block_backward_sync()
            if isinstance(strategy, ParallelStrategy) and not last
            else nullcontext()
        )


def _as_totals(result: StepLoss, micro_batches: int) -> Tensor:
    """Pack a micro-batch's numbers so that they can be added up, and across ranks at one go."""
    entries = [result.loss.detach().double().cpu() / micro_batches]
    for objective in OBJECTIVES:
        count = result.metrics.get(f"{objective}_tokens", torch.zeros(()))
        entries += [
            result.metrics.get(f"{objective}_loss", torch.zeros(())).double().cpu() * count.cpu(),
            count.cpu(),
        ]
    return torch.stack([entry.double() for entry in entries]).to(result.loss.device)


def _as_metrics(totals: Tensor, ranks: int) -> dict[str, Tensor]:
    """Undo `_as_totals`: the loss, and for each objective at work its mean loss and how many predictions."""
    metrics = {"loss": totals[0]}
    for place, objective in enumerate(OBJECTIVES):
        nats, count = totals[1 + 2 * place], totals[2 + 2 * place]
        if count > 0:
            metrics |= {f"{objective}_loss": nats / count, f"{objective}_tokens": count * ranks}
    return metrics
