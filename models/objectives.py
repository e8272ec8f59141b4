"""What the trunk is trained to do: predict the next word, hidden words, or both at once.

All objectives read position i's prediction from the hidden state at i-1 ("masked next-token prediction"), so
one head serves both ways: Charpentier & Samuel 2024, "GPT or BERT: why not both?" (arXiv:2410.24159). A
masked batch is read with attention to both sides.

Hidden words always become `<|mask|>`: no 80/10/10 rule. That rule (BERT) is there so that unmasked inputs are
not foreign to the trunk at fine-tuning time; here, 1 - mask_ratio of the inputs and, in a hybrid run, whole
sequences are unmasked anyway, a word kept in place would be readable by its own predictor, and Wettig et al.
2023 (arXiv:2202.08005) find plain masking at a higher ratio no worse.

Every sequence has the same number of hidden places, a pure function of (seed, step, row of the global batch):
the shapes are static, and the same words are hidden on any number of ranks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from models.linear_cross_entropy import linear_cross_entropy
from models.loader import Batch
from models.shards import SEPARATOR
from models.training_config import TrainingConfig

Trunk = Callable[..., Tensor]
"""Takes ids (B, T) and `causal=`, returns hidden states (B, T, H): a `Trunk`, or its compiled twin."""

_MASKS = 0x6D61736B  # keeps this stream of random numbers apart from that of the windows


class Mask(NamedTuple):
    """Which words of (B, T) ids are hidden: K places a row, counting 0 where a row had too few."""

    places: Tensor  # (B, K) int64, no two the same in a row; at least 1 where they count
    weights: Tensor  # (B, K) float32, 0 or 1


class StepLoss(NamedTuple):
    """The loss to minimise, and what it is made of."""

    loss: Tensor
    metrics: dict[
        str, Tensor
    ]  # detached: <objective>_loss in nats per prediction, <objective>_tokens predictions


def draw_mask(ids: Tensor, *, ratio: float, seed: int, step: int, first_row: int) -> Mask:
    """Choose the words to hide in (B, T) ids, of which row 0 is row `first_row` of the global batch.

    Never the separator, which bounds documents, and never place 0, which has no hidden state before it.
    Rows are drawn from one stream in order, so a slice of a batch has the masks of the whole.
    """
    rows, tokens = ids.shape
    generator = np.random.default_rng([_MASKS, seed, step])
    generator.bit_generator.advance(first_row * tokens)  # type: ignore[attr-defined]
    scores = torch.from_numpy(generator.random((rows, tokens))).to(ids.device)
    scores[ids == SEPARATOR] = 2.0
    scores[:, 0] = 2.0
    hidden_places = max(1, round(ratio * (tokens - 1)))
    chosen, places = scores.topk(hidden_places, largest=False, sorted=True)
    return Mask(places, (chosen < 2.0).float())


def causal_loss(trunk: Trunk, head: Tensor, tokens: Tensor) -> Tensor:
    """Mean -ln p of each of (B, T + 1) tokens but the first, given those before it."""
    hidden = trunk(tokens[:, :-1], causal=True)
    targets = tokens[:, 1:].flatten()
    weights = torch.full_like(targets, 1.0 / targets.numel(), dtype=torch.float32)
    return linear_cross_entropy(hidden.flatten(0, 1), head, targets, weights)


def masked_loss(trunk: Trunk, head: Tensor, ids: Tensor, mask: Mask, mask_id: int) -> Tensor:
    """Mean -ln p of the hidden words of (B, T) ids, given all others. The head runs at those places only."""
    targets = ids.gather(1, mask.places)
    # a place that counts nothing hides nothing: its own word is written back
    shown = torch.where(mask.weights > 0, mask_id, targets)
    hidden = trunk(ids.scatter(1, mask.places, shown), causal=False)
    before = (mask.places - 1).clamp_min(0)[..., None].expand(-1, -1, hidden.shape[-1])
    weights = (mask.weights / mask.weights.sum().clamp_min(1.0)).flatten()
    return linear_cross_entropy(hidden.gather(1, before).flatten(0, 1), head, targets.flatten(), weights)


def step_loss(trunk: Trunk, head: Tensor, batch: Batch, config: TrainingConfig, mask_id: int) -> StepLoss:
    """Apply the configured objective to a batch, or to a slice of its rows.

    Each objective weighs as many rows as it has, so that the mean over equal slices is the loss of the whole.
    """
    causal = config.is_causal_row(np.arange(batch.first_row, batch.first_row + len(batch.tokens)))
    causal_rows, masked_rows = (torch.from_numpy(np.flatnonzero(rows)) for rows in (causal, ~causal))
    metrics: dict[str, Tensor] = {}
    loss = batch.tokens.new_zeros((), dtype=torch.float32)
    if len(causal_rows):
        tokens = batch.tokens[causal_rows]
        part = causal_loss(trunk, head, tokens)
        metrics |= {"causal_loss": part.detach(), "causal_tokens": torch.tensor(float(tokens[:, 1:].numel()))}
        loss = loss + part * float(causal.mean())
    if len(masked_rows):
        ids = batch.tokens[:, :-1]
        mask = draw_mask(
            ids, ratio=config.mask_ratio, seed=config.seed, step=batch.step, first_row=batch.first_row
        )
        mask = Mask(mask.places[masked_rows], mask.weights[masked_rows])
        part = masked_loss(trunk, head, ids[masked_rows], mask, mask_id)
        metrics |= {"masked_loss": part.detach(), "masked_tokens": mask.weights.sum()}
        loss = loss + part * float((~causal).mean())
    return StepLoss(loss, metrics)
