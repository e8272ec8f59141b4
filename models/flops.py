"""The arithmetic of training, counted operator by operator and held against the formula people use."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from models.config import ModelConfig
    from models.training_config import TrainingConfig


class TrainingFlops(NamedTuple):
    """Floating-point operations to train on one token, counted and by the formula."""

    counted: float
    formula: float

    @property
    def ratio(self) -> float:
        """Counted over formula: near 1, or one of them is wrong."""
        return self.counted / self.formula


def training_flops_per_token(
    config: ModelConfig, objective: str, context_length: int, *, mask_ratio: float, causal_fraction: float
) -> TrainingFlops:
    """What one token of training takes: forward and backward through a sequence, over its length.

    Nothing is computed: the operators run on shapes without content. Matrix products are counted, as is the
    custom, and of attention the whole square, although half of it is masked. A masked sequence asks for
    the hidden words only; a hybrid run has both kinds. The optimiser is not in it.
    """
    hidden_words = max(1, round(mask_ratio * (context_length - 1)))
    causal = _both(config, context_length, context_length, True)
    if objective == "causal":
        return causal
    masked = _both(config, context_length, hidden_words, False)
    share = causal_fraction if objective == "hybrid" else 0.0
    return TrainingFlops(
        *(share * one + (1 - share) * other for one, other in zip(causal, masked, strict=True))
    )


def pretraining_flops(config: ModelConfig, training: TrainingConfig) -> float:
    """One optimiser step of pretraining by the formula, all ranks and micro-batches together."""
    length = training.context_length
    hidden_words = max(1, round(training.mask_ratio * (length - 1)))
    causal = training.causal_rows * _formula(config, length, length)
    return causal + (training.batch_size - training.causal_rows) * _formula(config, length, hidden_words)


def finetuning_flops(config: ModelConfig, rows: int, tokens: int, *, words: bool) -> float:
    """One step of fine-tuning on ``rows`` examples, padded to ``tokens``, by the formula.

    ``words`` says that every position predicts a word, as in translation; other heads weigh next to nothing.
    """
    return rows * _formula(config, tokens, tokens if words else 0)


def _both(config: ModelConfig, tokens: int, predictions: int, causal: bool) -> TrainingFlops:
    counted = _count(config, tokens, predictions, causal) / tokens
    return TrainingFlops(counted, _formula(config, tokens, predictions) / tokens)


def _count(config: ModelConfig, tokens: int, predictions: int, causal: bool) -> int:
    """Operations of one step on one sequence of ``tokens``, of which so many ask for a prediction."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.nn.functional import cross_entropy
    from torch.utils.flop_counter import FlopCounterMode

    from models.transformer import LanguageModel

    with torch.device("meta"):
        model = LanguageModel(config, seed=None)
        ids = torch.zeros(1, tokens, dtype=torch.long)
        targets = torch.zeros(predictions, dtype=torch.long)
    # written out as matrix products: the counter does not know every fused kernel of every machine
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        hidden = model.model(ids, causal=causal)[0, :predictions]
        cross_entropy(model.logits(hidden), targets).backward()  # type: ignore[no-untyped-call]
    return int(counter.get_total_flops())


def _formula(config: ModelConfig, tokens: int, predictions: int) -> float:
    """Six for each weight and token (Kaplan et al. 2020), the head's at predictions only, and attention."""
    trunk = config.parameter_count(embeddings=False)
    head = config.vocab_size * config.hidden_size
    width = config.num_attention_heads * config.head_dim
    attention = 12 * config.num_hidden_layers * width * tokens
    return float(6 * (trunk * tokens + head * predictions) + attention * tokens)
