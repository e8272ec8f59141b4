"""Muon for the hidden matrices and AdamW for everything else, as one optimiser.

Muon (Jordan et al. 2024) steps along the nearest semi-orthogonal matrix to the momentum, found by a quintic
Newton-Schulz iteration; the maths and constants are those of `torch.optim.Muon`, which handles neither
embeddings nor norms and works through one matrix at a time. Here matrices of one shape go through the
iteration together.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim.adamw import adamw

from models.dtensors import cut_like, local, own_rows, whole
from models.training_config import OptimisationConfig

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5
_SMALLEST_NORM = 1e-7
_ADAM_EPS = 1e-8


def orthogonalise(matrices: Tensor, dtype: torch.dtype) -> Tensor:
    """Bring the singular values of every matrix in (N, A, B) to between about 0.7 and 1.2, in type `dtype`.

    Quintic Newton-Schulz with Jordan's coefficients, which trade exactness for speed near zero.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if tall else matrices).to(dtype)
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp_min(_SMALLEST_NORM)
    first, second, third = _COEFFICIENTS
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        polynomial = torch.baddbmm(gram, gram, gram, beta=second, alpha=third)
        x = torch.baddbmm(x, polynomial, x, beta=first)
    return x.mT if tall else x


class MuonAdamW(torch.optim.Optimizer):
    """One optimiser whose groups say by `kind` ("muon" or "adamw") how they are stepped.

    Every group also keeps `peak`, its highest learning rate, which `set_learning_rates` scales.
    """

    def __init__(
        self, groups: Iterable[dict[str, Any]], *, momentum: float, orthogonal_dtype: torch.dtype
    ) -> None:
        """Take parameter groups with `kind`, `lr`, `weight_decay` and, for "adamw", `betas`."""
        super().__init__(groups, {"momentum": momentum})
        self._orthogonal_dtype = orthogonal_dtype
        for group in self.param_groups:
            group.setdefault("peak", group["lr"])

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Update all parameters that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if parameters:
                (self._step_muon if group["kind"] == "muon" else self._step_adamw)(parameters, group)
        return loss

    def set_learning_rates(self, factor: float) -> None:
        """Set every group's rate to `factor` times its peak."""
        for group in self.param_groups:
            group["lr"] = group["peak"] * factor

    def _step_muon(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        gradients, held = _gradients(parameters), [local(p) for p in parameters]
        buffers = [local(self._state(p, "momentum")) for p in parameters]
        torch._foreach_lerp_(buffers, gradients, 1.0 - group["momentum"])
        ahead = torch._foreach_lerp(gradients, buffers, group["momentum"])  # Nesterov
        torch._foreach_mul_(held, 1.0 - group["lr"] * group["weight_decay"])
        by_shape: dict[torch.Size, list[int]] = defaultdict(list)
        for index, parameter in enumerate(parameters):
            by_shape[parameter.shape].append(index)
        for shape, members in by_shape.items():
            updates = self._updates([parameters[i] for i in members], [ahead[i] for i in members])
            rate = group["lr"] * math.sqrt(max(1.0, shape[0] / shape[1]))
            torch._foreach_add_([held[i] for i in members], updates, alpha=-rate)

    def _updates(self, parameters: list[Tensor], ahead: list[Tensor]) -> list[Tensor]:
        """What Muon makes of matrices of one shape: of the rows held here, if each rank has some.

        The iteration needs whole matrices. Those of ranks with parts come together one at a time, since there
        is no room for all at once; every rank then does the same sums, as every rank without parts does.
        """
        if not isinstance(parameters[0], DTensor):
            return list(orthogonalise(torch.stack(ahead), self._orthogonal_dtype).float())
        updates = []
        for parameter, rows in zip(parameters, ahead, strict=True):
            start, end = own_rows(parameter)
            update = orthogonalise(whole(cut_like(rows, parameter))[None], self._orthogonal_dtype)[0]
            updates.append(update[start:end].float())
        return updates

    def _step_adamw(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        steps = [self._state(p, "step", torch.zeros((), device=p.device)) for p in parameters]
        adamw(
            [local(p) for p in parameters],
            _gradients(parameters),
            [local(self._state(p, "first_moment")) for p in parameters],
            [local(self._state(p, "second_moment")) for p in parameters],
            [],
            steps,
            fused=True,
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=_ADAM_EPS,
            maximize=False,
        )

    def _state(self, parameter: Tensor, name: str, initial: Tensor | None = None) -> Tensor:
        state = self.state[parameter]
        if name not in state:
            state[name] = torch.zeros_like(parameter) if initial is None else initial
        value: Tensor = state[name]
        return value


def _gradients(parameters: list[Tensor]) -> list[Tensor]:
    return [local(p.grad) for p in parameters if p.grad is not None]


def make_optimiser(
    model: nn.Module, config: OptimisationConfig, *, orthogonal_dtype: torch.dtype
) -> MuonAdamW:
    """Sort the parameters of `model` into groups.

    Hidden matrices get Muon (or AdamW, by `config.optimiser`) with weight decay. Embeddings and the output
    head are tables, not maps between hidden spaces, and get AdamW; they and the norms have no decay.
    """
    matrices: list[nn.Parameter] = []
    tables_and_norms: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        is_table = name.endswith(("embed_tokens.weight", "lm_head.weight", "score.weight"))
        (matrices if parameter.dim() == 2 and not is_table else tables_and_norms).append(parameter)
    adam = {"kind": "adamw", "lr": config.adam_learning_rate, "betas": config.betas}
    muon = {"kind": "muon", "lr": config.learning_rate}
    groups = [
        {
            "params": matrices,
            "weight_decay": config.weight_decay,
            **(muon if config.optimiser == "muon" else adam),
        },
        {"params": tables_and_norms, "weight_decay": 0.0, **adam},
    ]
    return MuonAdamW(groups, momentum=config.momentum, orthogonal_dtype=orthogonal_dtype)
