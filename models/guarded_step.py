"""One optimiser step as every training here does it: loss, clip, judge together with all ranks, step."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from models.checkpoint_files import CheckpointError
from models.guards import NonFiniteError, SpikeGuard, ranks_at_fault
from models.optimiser import MuonAdamW, make_optimiser
from models.signals import StopRequest
from models.training_config import OptimisationConfig, learning_rate_factor

PARAMETER_PREFIX = "network."
"""What Lightning puts before the names of the model's parameters: the attribute that holds it below."""

Blame = Callable[[int, list[int]], str]
"""Takes a step (from 0) and the ranks at fault, none if unknown; notes what they read, returns where and what."""


@dataclass(frozen=True)
class Told:
    """What all ranks told each other about a step; the same on each of them."""

    totals: list[float]  # the mean over the ranks
    losses: list[float]  # of each rank
    norm: float  # the largest, though they should be equal
    stop: int  # the signal that some rank was asked to stop by, or 0

    @property
    def finite(self) -> bool:
        """Whether the step may be taken at all."""
        return math.isfinite(self.norm) and all(math.isfinite(loss) for loss in self.losses)


class GuardedStep(pl.LightningModule, ABC):
    """Lightning's manual optimisation, so that its step, its batch and ours are the same thing.

    There is no state between micro-batches to save, and a signal is always obeyed at a step's border. Ranks
    exchange one short vector a step, which is also the only time that the host waits for the device.
    """

    def __init__(
        self, network: nn.Module, config: OptimisationConfig, precision: torch.dtype, blame: Blame
    ) -> None:
        """Train `network` in `precision`; `blame` is called, on rank 0, before a step that is not finite ends all."""
        super().__init__()
        self.automatic_optimization = False
        self.network, self._precision = network, precision
        self._optimisation, self._blame = config, blame
        self.guard = SpikeGuard(config.spike_sigma, config.spike_window)
        self.stop = StopRequest()

    @abstractmethod
    def accumulate(self, batch: Any) -> Tensor:
        """Leave the batch's gradients in the parameters; return its numbers as float64, the loss first."""

    @abstractmethod
    def losses(self, batch: Any) -> Iterator[Tensor]:
        """The losses that `accumulate` differentiates, one by one."""

    def described(self, totals: list[float]) -> dict[str, float]:
        """Turn the mean of all ranks' totals into metrics."""
        return {"loss": totals[0]}

    def configure_optimizers(self) -> MuonAdamW:
        """Make the one optimiser; its rates are set anew in every step."""
        return make_optimiser(self.network, self._optimisation, orthogonal_dtype=self._precision)

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        """Do one optimiser step; a spike's step moves neither weights nor optimiser.

        Raises:
            NonFiniteError: on every rank, before the optimiser touches the weights.

        """
        plain: Any = self.optimizers(use_pl_optimizer=False)
        plain.set_learning_rates(learning_rate_factor(self._optimisation, batch.step))
        plain.zero_grad(set_to_none=True)
        totals = self.accumulate(batch)
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self._optimisation.gradient_clip)
        told = self._exchange(totals, norm)
        if not told.finite:
            self._refuse(batch, told)
        aloud = bool(self.trainer.is_global_zero)
        if not self.guard.accepts(batch.step + 1, told.totals[0], told.norm, aloud=aloud):
            plain.zero_grad(set_to_none=True)  # parameters without a gradient are left alone, state and all
        stepper: Any = self.optimizers()
        stepper.step()
        metrics = self.described(told.totals)
        return metrics | {
            "loss": torch.tensor(metrics["loss"], dtype=torch.float64),  # Lightning detaches it
            "gradient_norm": told.norm,
            "learning_rate": plain.param_groups[0]["lr"],
            "skipped_steps": self.guard.skipped,
            "stop": told.stop,
        }

    def _exchange(self, totals: Tensor, norm: Tensor) -> Told:
        whole = norm.full_tensor() if isinstance(norm, DTensor) else norm
        vector = torch.cat([totals, whole.to(totals).reshape(1)])
        if self.trainer.world_size == 1:
            *own, largest = vector.tolist()
            return Told(own, [own[0]], largest, self.stop.signal)
        vector = torch.cat([vector, vector.new_tensor([float(self.stop.signal)])])
        rows: list[list[float]] = self.trainer.strategy.all_gather(vector).tolist()
        means = [sum(column) / len(rows) for column in zip(*rows, strict=True)][:-2]
        norms = [row[-2] for row in rows]
        # max() would pass over a NaN that is not the first
        largest = max(norms) if all(map(math.isfinite, norms)) else math.nan
        return Told(means, [row[0] for row in rows], largest, int(max(row[-1] for row in rows)))

    def _refuse(self, batch: Any, told: Told) -> None:
        ranks = ranks_at_fault(told.losses)
        alone = self.trainer.world_size == 1
        if not ranks and not alone:
            ranks = self._ranks_with_bad_gradient(batch)
        hint = self._blame(batch.step, ranks) if self.trainer.is_global_zero else ""
        if not alone:
            # a rank that left would have this one ended before it wrote
            self.trainer.strategy.barrier("blame")
        where = f" on rank {', '.join(map(str, ranks))}" if ranks and not alone else ""
        raise NonFiniteError(
            f"step {batch.step + 1}: loss {told.totals[0]}, gradient norm {told.norm}{where}; the weights were "
            f"not updated. Lower the learning rates, or look at what this step read{hint}"
        )

    def _ranks_with_bad_gradient(self, batch: Any) -> list[int]:
        """Differentiate once more, without the exchange that spread the fault to every rank."""
        parameters = [p for p in self.network.parameters() if p.requires_grad]
        if any(isinstance(parameter, DTensor) for parameter in parameters):
            return []  # no rank has a gradient of its own then
        bad = torch.zeros(1, device=self.device)
        for loss in self.losses(batch):
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
            finite = [torch.isfinite(each).all() for each in gradients if each is not None]
            bad += 1.0 - torch.stack(finite).all().float()
        flags = self.trainer.strategy.all_gather(bad).flatten().tolist()
        return [rank for rank, flag in enumerate(flags) if flag]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the guard's window."""
        checkpoint["guard"] = self.guard.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up the guard's window."""
        try:
            self.guard.load_state_dict(checkpoint["guard"])
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"the checkpoint's guard cannot be taken up ({error!r})") from error
