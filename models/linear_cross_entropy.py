"""Cross-entropy straight from hidden states, without ever holding the logits of a whole batch.

The logits of 4096 tokens over 4096 words are 64 MiB in float32, and the usual chain (matrix product,
log-softmax, its gradient, two more products) passes over them half a dozen times: on a CPU that is memory
traffic, not arithmetic. Here rows are taken in chunks that stay in cache, and the gradient is formed in the
same pass, as in Liger Kernel's fused linear cross-entropy (Hsu et al. 2024, arXiv:2410.10989).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

from models.transformer import LanguageModel

_CHUNK_ELEMENTS = 1 << 20  # logits per chunk: 4 MiB in float32
_CHUNK_ROWS = 128  # at least: the head's gradient is read and written once per chunk


def output_head(model: LanguageModel) -> Tensor:
    """Return the (V, H) matrix that turns hidden states into logits; the embedding table when tied."""
    return model.model.embed_tokens.weight if model.lm_head is None else model.lm_head.weight


@torch.no_grad()
def token_losses(hidden: Tensor, head: Tensor, targets: Tensor) -> Tensor:
    """Return -ln p(target) of every row, (N,) float32, from hidden (N, H) and head (V, H). No gradient."""
    hidden = _as_autocast_would(hidden)
    with torch.autocast(hidden.device.type, enabled=False):
        working = head.to(hidden.dtype)
        parts = [
            cross_entropy(linear(rows, working).float(), wanted, reduction="none")
            for rows, wanted in zip(_chunks(hidden, head), _chunks(targets, head), strict=True)
        ]
    return torch.cat(parts) if parts else hidden.new_zeros(0, dtype=torch.float32)


def linear_cross_entropy(hidden: Tensor, head: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted sum of -ln p(target), a float32 scalar with gradients to `hidden` and `head`.

    Args:
        hidden: (N, H) final states, in any float type; autocast applies.
        head: (V, H) output embeddings; converted to the type of `hidden` for the products.
        targets: (N,) ids.
        weights: (N,) float32, what each row counts; 0 leaves a row out.

    """
    if not torch.is_grad_enabled():
        return torch.dot(token_losses(hidden, head, targets), weights)
    hidden = _as_autocast_would(hidden)
    result: Tensor = _LinearCrossEntropy.apply(hidden, head, targets, weights)  # type: ignore[no-untyped-call]
    return result


def _as_autocast_would(hidden: Tensor) -> Tensor:
    device = hidden.device.type
    return hidden.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else hidden


def _chunks(rows: Tensor, head: Tensor) -> tuple[Tensor, ...]:
    return torch.split(rows, max(_CHUNK_ROWS, _CHUNK_ELEMENTS // head.shape[0])) if len(rows) else ()


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        with torch.autocast(hidden.device.type, enabled=False):
            loss, grad_hidden, grad_head = _loss_and_gradients(hidden, head, targets, weights)
        ctx.save_for_backward(grad_hidden, grad_head)
        return loss

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        grad_hidden, grad_head = ctx.saved_tensors
        scale = gradients[0]
        return grad_hidden * scale.to(grad_hidden.dtype), grad_head * scale.to(grad_head.dtype), None, None


def _loss_and_gradients(
    hidden: Tensor, head: Tensor, targets: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    working = head.to(hidden.dtype)
    loss = hidden.new_zeros((), dtype=torch.promote_types(hidden.dtype, torch.float32))
    grad_hidden, grad_head = torch.empty_like(hidden), torch.zeros_like(head)
    start = 0
    for rows, wanted, weight in zip(
        _chunks(hidden, head), _chunks(targets, head), _chunks(weights, head), strict=True
    ):
        logits = linear(rows, working).to(loss.dtype)
        largest = logits.amax(dim=-1, keepdim=True)
        picked = logits.gather(-1, wanted[:, None]) - largest
        powers = logits.sub_(largest).exp_()  # in place from here on: one exponential per logit
        sums = powers.sum(dim=-1, keepdim=True)
        column = weight.to(loss.dtype)[:, None]
        loss += ((sums.log() - picked) * column).sum()
        gradient = powers.mul_(column / sums).scatter_add_(-1, wanted[:, None], -column).to(hidden.dtype)
        grad_hidden[start : start + len(rows)] = gradient @ working
        grad_head += gradient.T @ rows
        start += len(rows)
    return loss, grad_hidden, grad_head
