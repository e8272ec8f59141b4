"""What a pretrained trunk becomes when it is given a task: a head over its hidden states.

All three are the same trunk underneath. Sentiment and question answering look at a text in both directions;
translation goes on writing, so it keeps the causal mask and the language model's own head.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.transformer import LanguageModel

SENTIMENT, QUESTION_ANSWERING, TRANSLATION = "sentiment", "question-answering", "translation"
IGNORED = -100  # a target that no loss is taken at
NO_ANSWER = 0  # the position that stands for "the text does not say": that of the first token


class ExampleBatch(NamedTuple):
    """Examples of one optimiser step, padded to the longest.

    ``input_ids`` (B, T); ``attention_mask`` (B, T), True at real tokens; ``targets`` (B, K), what they mean is
    the head's affair.
    """

    input_ids: Tensor
    attention_mask: Tensor
    targets: Tensor
    step: int


class Head(Protocol):
    """What fine-tuning needs of a network."""

    model: LanguageModel

    def loss(self, batch: ExampleBatch) -> Tensor:
        """Mean loss of a batch, in nats."""
        ...


class Classifier(nn.Module):
    """One of a few labels for a text: the mean of the hidden states of its tokens, then one linear map."""

    task = SENTIMENT

    def __init__(
        self, model: LanguageModel, labels: tuple[str, ...], *, bidirectional: bool = True, seed: int = 0
    ) -> None:
        """Put a new score layer, drawn from `seed` alone, on the trunk of `model`."""
        super().__init__()
        self.model, self.labels, self.bidirectional = model, labels, bidirectional
        self.score = _small_linear(model.config.hidden_size, len(labels), seed)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Score every label: (B, T) ids and their mask to (B, L) logits."""
        hidden = self.model.model(input_ids, causal=not self.bidirectional, attention_mask=attention_mask)
        real = attention_mask.unsqueeze(-1).to(hidden.dtype)
        pooled = (hidden * real).sum(dim=1) / real.sum(dim=1).clamp_min(1.0)
        logits: Tensor = self.score(pooled)
        return logits

    def loss(self, batch: ExampleBatch) -> Tensor:
        """Cross-entropy with the label's number in ``targets`` (B, 1)."""
        logits = self(batch.input_ids, batch.attention_mask).float()
        return functional.cross_entropy(logits, batch.targets[:, 0])


class SpanExtractor(nn.Module):
    """Where in a context the answer to a question begins and ends; position 0 says that it has none.

    Devlin et al. 2019 (BERT), section 4.3, with SQuAD 2.0's no-answer at the first token.
    """

    task = QUESTION_ANSWERING

    def __init__(self, model: LanguageModel, *, bidirectional: bool = True, seed: int = 0) -> None:
        """Put a new score layer, drawn from `seed` alone, on the trunk of `model`."""
        super().__init__()
        self.model, self.bidirectional = model, bidirectional
        self.score = _small_linear(model.config.hidden_size, 2, seed)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Score every position as the answer's first and as its last token: (B, T) ids to (B, T, 2).

        Padding scores as low as the type allows.
        """
        hidden = self.model.model(input_ids, causal=not self.bidirectional, attention_mask=attention_mask)
        scores: Tensor = self.score(hidden)
        return scores.masked_fill(~attention_mask.unsqueeze(-1), torch.finfo(scores.dtype).min)

    def loss(self, batch: ExampleBatch) -> Tensor:
        """Mean cross-entropy of first and last position, both inclusive, in ``targets`` (B, 2)."""
        scores = self(batch.input_ids, batch.attention_mask).float()
        first = functional.cross_entropy(scores[..., 0], batch.targets[:, 0])
        last = functional.cross_entropy(scores[..., 1], batch.targets[:, 1])
        return (first + last) / 2


class Translator(nn.Module):
    """The language model itself, taught to go on after ``source <|sep|>`` with the target."""

    task = TRANSLATION

    def __init__(self, model: LanguageModel) -> None:
        """Wrap `model`; there is no new weight."""
        super().__init__()
        self.model = model

    def loss(self, batch: ExampleBatch) -> Tensor:
        """Mean cross-entropy of the tokens from place ``targets`` (B, 1) on: the target, not the source."""
        hidden = self.model.model(batch.input_ids, causal=True, attention_mask=batch.attention_mask)
        places = torch.arange(1, batch.input_ids.shape[1], device=hidden.device)
        counted = (places >= batch.targets) & batch.attention_mask[:, 1:]
        logits = self.model.logits(hidden[:, :-1][counted]).float()
        return functional.cross_entropy(logits, batch.input_ids[:, 1:][counted])


def _small_linear(inputs: int, outputs: int, seed: int) -> nn.Linear:
    """Weights near zero, so that training starts from equal odds, and no dependence on the global generator."""
    layer = nn.Linear(inputs, outputs)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        layer.weight.copy_(torch.empty(layer.weight.shape).normal_(0.0, 0.02, generator=generator))
        layer.bias.zero_()
    return layer
