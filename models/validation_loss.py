"""The numbers watched during training, on a fixed sample of the validation split."""

from __future__ import annotations

import numpy as np
import torch

from models.linear_cross_entropy import output_head
from models.loader import Batch
from models.objectives import step_loss
from models.scoring import autocast, choose_documents, evaluate_documents
from models.shards import TokenShard
from models.training_config import TrainingConfig
from models.transformer import LanguageModel

_MASK_SEED = 1  # fixed, so that runs with different seeds are measured on the same hidden words


def validate(
    model: LanguageModel, shard: TokenShard, config: TrainingConfig, precision: torch.dtype
) -> dict[str, float]:
    """Return `validation/...` metrics for the configured objective; empty when the split is empty.

    A trunk that learned the next word gets `loss` (nats per token) and `bits_per_byte` on whole documents;
    one that learned hidden words gets `masked_loss`. A masked model has no likelihood of a text, so no bits
    per byte.
    """
    metrics: dict[str, float] = {}
    if not len(shard):
        return metrics
    documents = choose_documents(shard, config.validation_tokens)
    if config.objective != "masked" and documents:
        scores = evaluate_documents(
            model,
            shard,
            context_length=config.context_length,
            documents=documents,
            precision=precision,
        )
        metrics["validation/loss"] = scores.nats_per_token
        metrics["validation/bits_per_byte"] = scores.bits_per_byte
    if config.objective != "causal":
        metrics["validation/masked_loss"] = masked_validation_loss(model, shard, config, precision)
    return metrics


def masked_validation_loss(
    model: LanguageModel, shard: TokenShard, config: TrainingConfig, precision: torch.dtype
) -> float:
    """Mean loss of hidden words in evenly spread windows, the same windows and words at every call."""
    length = min(config.context_length, len(shard))
    available = len(shard) // length
    windows = min(available, max(1, config.validation_tokens // length))
    starts = np.linspace(0, available - 1, windows).astype(np.int64) * length
    masked = config.model_copy(update={"objective": "masked", "seed": _MASK_SEED})
    device = next(model.parameters()).device
    total = count = 0.0
    with torch.no_grad(), autocast(device, precision):
        for row in range(0, windows, config.batch_size):
            chosen = starts[row : row + config.batch_size, None] + np.arange(length)
            ids = torch.from_numpy(shard.tokens[chosen].astype(np.int64)).to(device)
            # step_loss expects a target behind every input; the masked objective does not look at it
            batch = Batch(torch.cat((ids, ids[:, :1]), dim=1), 0, row)
            metrics = step_loss(
                model.model, output_head(model), batch, masked, model.config.mask_token_id or 0
            ).metrics
            total += float(metrics["masked_loss"] * metrics["masked_tokens"])
            count += float(metrics["masked_tokens"])
    return total / max(count, 1.0)
