"""Classification with a fine-tuned head: from texts to a probability for every label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from models.config import ModelConfig
from models.examples import Example, collate
from models.heads import Classifier

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def classify(
    head: Classifier,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    *,
    max_tokens: int,
    batch_size: int = 64,
) -> NDArray[np.float64]:
    """Return the probability of every label for every text, (N, L), in the order of `texts` and `head.labels`.

    Texts of similar length share a batch, so that little is computed on padding. Only the first tokens of a
    text longer than `max_tokens` are read; an empty text is its opening token alone.

    Args:
        head: a classifier; it runs where its weights are.
        tokenizer: the one its trunk was trained with.
        texts: what to classify.
        max_tokens: tokens of a text to read at most, the opening one included; the model's context bounds it.
        batch_size: texts to run at a time; it changes speed and the last digits only.

    Raises:
        ValueError: `batch_size` or `max_tokens` is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    config, device = head.model.config, head.score.weight.device
    bos_id = opening_token(config)
    longest = min(max_tokens, config.max_position_embeddings)
    encoded = [Example(encode_text(tokenizer, text, longest, bos_id), ()) for text in texts]
    order = sorted(range(len(encoded)), key=lambda place: len(encoded[place].input_ids))
    probabilities = np.empty((len(encoded), len(head.labels)), dtype=np.float64)
    with torch.inference_mode():
        for start in range(0, len(order), batch_size):
            places = order[start : start + batch_size]
            batch = collate([encoded[place] for place in places], config.pad_token_id or 0)
            logits = head(batch.input_ids.to(device), batch.attention_mask.to(device))
            probabilities[places] = logits.double().softmax(-1).cpu().numpy()
    return probabilities


def encode_text(tokenizer: Tokenizer, text: str, max_tokens: int, bos_id: int) -> tuple[int, ...]:
    """Return `bos_id` and the tokens of `text`, at most `max_tokens` in all.

    What looks like a special token in `text` is read as plain characters: a text cannot end itself.

    Raises:
        ValueError: `max_tokens` is below 1.
    """
    if max_tokens < 1:
        raise ValueError(f"max_tokens must be at least 1, not {max_tokens}")
    before = tokenizer.encode_special_tokens
    tokenizer.encode_special_tokens = True
    try:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
    finally:
        tokenizer.encode_special_tokens = before
    return (bos_id, *ids[: max_tokens - 1])


def opening_token(config: ModelConfig) -> int:
    """The token every text begins with: the model's first token, else its end token, else 0."""
    ends = config.eos_token_ids
    return config.bos_token_id if config.bos_token_id is not None else next(iter(ends), 0)


class LabelCounts(NamedTuple):
    """For every label (..., L): examples that have it, that were given it, and that rightly were."""

    there: NDArray[Any]
    said: NDArray[Any]
    right: NDArray[Any]


def label_counts(gold: NDArray[np.int64], predicted: NDArray[np.int64], labels: int) -> LabelCounts:
    """Count the true and the given labels of (N,) examples, by their numbers below `labels`."""
    counted = (gold, predicted, gold[gold == predicted])
    return LabelCounts(*(np.bincount(each, minlength=labels) for each in counted))


def macro_f1(counts: LabelCounts) -> NDArray[np.float64]:
    """Mean F1 of the labels that occur, (...,); 0 without any example.

    A label that occurs and is never given rightly has F1 0. One that does not occur has no F1 of its own;
    giving it costs the labels that were due instead.
    """
    each = 2.0 * counts.right / np.maximum(counts.there + counts.said, 1)
    occurring = counts.there > 0
    mean: NDArray[np.float64] = (each * occurring).sum(-1) / np.maximum(occurring.sum(-1), 1)
    return mean
