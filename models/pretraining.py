"""One optimiser step of pretraining, as Lightning sees it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from pytorch_lightning.strategies import ParallelStrategy
from torch import Tensor, nn

from models.guarded_step import PARAMETER_PREFIX, Blame, GuardedStep
from models.guards import NonFiniteError
from models.linear_cross_entropy import output_head
from models.loader import Batch
from models.objectives import StepLoss, Trunk, step_loss
from models.scoring import autocast
from models.sharding import ShardedStrategy
from models.training_config import TrainingConfig
from models.transformer import LanguageModel

__all__ = ["OBJECTIVES", "PARAMETER_PREFIX", "NonFiniteError", "Pretraining"]

OBJECTIVES = ("causal", "masked")


class _Loss(nn.Module):
    """The loss of a micro-batch as one module: what brings weights together that ranks hold in parts."""

    def __init__(self, network: LanguageModel, trunk: Trunk, config: TrainingConfig, mask_id: int) -> None:
        super().__init__()
        self.network = network
        self._trunk = (trunk,)  # in a tuple, lest a compiled twin be registered as a second submodule
        self._config, self._mask_id = config, mask_id

    def forward(self, batch: Batch) -> StepLoss:
        """Apply the configured objective."""
        return step_loss(self._trunk[0], output_head(self.network), batch, self._config, self._mask_id)


class Pretraining(GuardedStep):
    """One optimiser step per batch: accumulate micro-batches, then as `GuardedStep` does."""

    def __init__(
        self,
        network: LanguageModel,
        config: TrainingConfig,
        trunk: Trunk,
        precision: torch.dtype,
        mask_id: int,
        blame: Blame = lambda step, ranks: "",
    ) -> None:
        """Train `network` through `trunk`, which is its trunk or the compiled twin of it."""
        super().__init__(network, config, precision, blame)
        self._config = config
        # in a tuple, or each weight had two names
        self._objective = (_Loss(network, trunk, config, mask_id),)

    def configure_model(self) -> None:
        """Deal the weights out, if that is how ranks share the work."""
        strategy, network = self.trainer.strategy, self._objective[0].network
        if isinstance(strategy, ShardedStrategy):
            strategy.shard(self._objective[0], network.model.layers)

    def accumulate(self, batch: Batch) -> Tensor:
        """Add up the gradients of all micro-batches; return the losses of the whole batch."""
        parts = self._micro_batches(batch)
        totals = torch.zeros(1 + 2 * len(OBJECTIVES), device=self.device, dtype=torch.float64)
        for number, part in enumerate(parts, start=1):
            result = self._loss(part)
            with self._local_unless(number == len(parts)):
                self.manual_backward(result.loss / len(parts))
            totals += _as_totals(result, len(parts))
        return totals

    def losses(self, batch: Batch) -> Iterator[Tensor]:
        """The loss of every micro-batch."""
        return (self._loss(part).loss for part in self._micro_batches(batch))

    def described(self, totals: list[float]) -> dict[str, float]:
        """The loss, and for each objective at work its mean loss and how many predictions."""
        metrics = {"loss": totals[0]}
        for place, objective in enumerate(OBJECTIVES):
            nats, count = totals[1 + 2 * place], totals[2 + 2 * place]
            if count > 0:
                ranks = self.trainer.world_size
                metrics |= {f"{objective}_loss": nats / count, f"{objective}_tokens": count * ranks}
        return metrics

    def _loss(self, part: Batch) -> StepLoss:
        with autocast(self.device, self._precision):
            loss: StepLoss = self._objective[0](part)
            return loss

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
    """Pack a micro-batch's numbers so that they can be added up, and told to other ranks at one go."""
    zero = torch.zeros((), device=result.loss.device)
    entries = [result.loss.detach().double() / micro_batches]
    for objective in OBJECTIVES:
        count = result.metrics.get(f"{objective}_tokens", zero).to(zero.device).double()
        entries += [result.metrics.get(f"{objective}_loss", zero).double() * count, count]
    return torch.stack(entries)
