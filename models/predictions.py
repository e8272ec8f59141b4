"""What can be explained: one number that a network gives for a sequence of tokens.

A label's probability, the scores of an answer's first and last token, the log-probability of the next token.
Each comes as a `Prediction`, so that an explanation need not know which network it explains.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from models.config import ModelConfig
from models.export import SEPARATOR
from models.generation import choosable_tokens, encode_prompt, token_bytes
from models.heads import NO_ANSWER, Classifier, SpanExtractor
from models.transformer import LanguageModel

Reading = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From ids (B, T), their mask (B, T) and the places read at (B, P) to one number per row (B,)."""
_LONGEST_PROMPT = 100_000


@dataclass(frozen=True)
class Prediction:
    """A number that a network gives for a sequence of tokens, and how to ask for it again."""

    embedding: nn.Module  # what the tokens pass first
    input_ids: tuple[int, ...]
    pieces: tuple[
        str, ...
    ]  # joined, the text that was read; a character of several tokens is the first one's
    kept: frozenset[int]  # places of control tokens: they hold no text and are never blanked or deleted
    places: tuple[int, ...]  # where the number is read off; never deleted either
    blank_id: int  # the token that stands for "not told"
    target: str  # what the number is about, for people
    value: Reading  # what is explained
    probability: Reading  # what faithfulness is measured in

    @property
    def free(self) -> tuple[int, ...]:
        """Places of the tokens that can be taken away."""
        untouchable = self.kept | set(self.places)
        return tuple(place for place in range(len(self.input_ids)) if place not in untouchable)

    def ask(self, reading: Reading, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Read one number per row of (B, T) ids, all tokens real unless a mask says otherwise."""
        seen = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask
        places = torch.tensor(self.places, dtype=torch.int64, device=ids.device).expand(len(ids), -1)
        return reading(ids, seen, places)


def blank_token(config: ModelConfig) -> int:
    """The token that says nothing: the mask token, else padding, else the end token, else 0."""
    ends = config.eos_token_ids
    choices = (config.mask_token_id, config.pad_token_id, *ends, 0)
    return next(token for token in choices if token is not None)


def label_prediction(
    head: Classifier, tokenizer: Tokenizer, text: str, *, max_tokens: int, label: int | None = None
) -> Prediction:
    """The probability of a label of `text`, by default of the likeliest one.

    Probabilities, not logits: what the tokens add then reads as percentage points, and nothing is explained
    that moves no probability.
    """
    config = head.model.config
    ids, pieces = _encode(tokenizer, text)
    room = min(max_tokens, config.max_position_embeddings) - 1
    ids, pieces = ids[:room], pieces[:room]
    chosen = 0 if label is None else label

    def probability(ids: Tensor, mask: Tensor, _places: Tensor) -> Tensor:
        scores: Tensor = head(ids, mask).double().softmax(-1)[:, chosen]
        return scores

    found = Prediction(
        embedding=head.model.model.embed_tokens,
        input_ids=(_opening(config), *ids),
        pieces=("", *pieces),
        kept=frozenset({0}),
        places=(),
        blank_id=blank_token(config),
        target=head.labels[chosen],
        value=probability,
        probability=probability,
    )
    if label is None:
        with torch.no_grad():
            everything = _row(found)
            likeliest = int(head(everything, torch.ones_like(everything, dtype=torch.bool)).argmax())
        return label_prediction(head, tokenizer, text, max_tokens=max_tokens, label=likeliest)
    return found


def span_prediction(
    head: SpanExtractor,
    tokenizer: Tokenizer,
    question: str,
    context: str,
    *,
    max_tokens: int,
    answer: tuple[int, int] | None,
) -> Prediction:
    """The scores of an answer's first and last token, summed.

    Of a long context a window is read that has the answer in its middle; without an answer, the beginning.
    A question of more than half of `max_tokens` loses its end.

    Args:
        head: the extractor.
        tokenizer: the one its trunk was trained with.
        question: what is asked.
        context: where the answer may be.
        max_tokens: tokens to read at most; the model's context bounds it.
        answer: characters [start, end) of the context, or None for "the context does not say".

    Raises:
        ValueError: no token stands at these characters, or the tokenizer has no separator.
    """
    config = head.model.config
    separator = tokenizer.token_to_id(SEPARATOR)
    if separator is None:
        raise ValueError(f"the tokenizer has no {SEPARATOR}")
    longest = min(max_tokens, config.max_position_embeddings)
    asked_ids, asked = _encode(tokenizer, question)
    asked_ids, asked = asked_ids[: longest // 2 - 1], asked[: longest // 2 - 1]
    ids, pieces = _encode(tokenizer, context)
    prefix = len(asked_ids) + 2
    start, places = 0, (NO_ANSWER, NO_ANSWER)
    if answer is not None:
        first, last = _touched(pieces, answer)
        start = max(0, min((first + last) // 2 - (longest - prefix) // 2, len(ids) - (longest - prefix)))
        places = (prefix + first - start, prefix + min(last - start, longest - prefix - 1))
    end = start + longest - prefix

    def value(ids: Tensor, mask: Tensor, places: Tensor) -> Tensor:
        return _at_places(head(ids, mask).double(), places)

    def probability(ids: Tensor, mask: Tensor, places: Tensor) -> Tensor:
        return _at_places(head(ids, mask).double().log_softmax(dim=1), places).exp()

    return Prediction(
        embedding=head.model.model.embed_tokens,
        input_ids=(_opening(config), *asked_ids, separator, *ids[start:end]),
        pieces=("", *asked, "\n", *pieces[start:end]),
        kept=frozenset({0, prefix - 1}),
        places=places,
        blank_id=blank_token(config),
        target=context[slice(*answer)] if answer is not None else "(no answer)",
        value=value,
        probability=probability,
    )


def next_token_prediction(
    model: LanguageModel, tokenizer: Tokenizer, text: str, *, token: int | None = None
) -> Prediction:
    """The log-probability of a token after `text`, by default of the likeliest one that may be generated.

    Raises:
        ValueError: the text does not fit the context or the model.
    """
    config = model.config
    whole = encode_prompt(tokenizer, text, config, _LONGEST_PROMPT)
    _, pieces = _encode(tokenizer, text)
    opened = len(whole) - len(pieces)
    allowed = choosable_tokens(tokenizer, config)

    def everything(ids: Tensor, mask: Tensor) -> Tensor:
        hidden = model.model(ids, causal=True, attention_mask=mask)
        last = hidden[torch.arange(len(ids), device=ids.device), mask.sum(dim=1) - 1]
        scores = model.logits(last).double().masked_fill(~allowed.to(ids.device), -torch.inf)
        return scores.log_softmax(-1)

    def value_of(chosen: int) -> Reading:
        return lambda ids, mask, _places: everything(ids, mask)[:, chosen]

    def probability_of(chosen: int) -> Reading:
        return lambda ids, mask, _places: everything(ids, mask)[:, chosen].exp()

    found = Prediction(
        embedding=model.model.embed_tokens,
        input_ids=tuple(whole),
        pieces=("",) * opened + pieces,
        kept=frozenset(range(opened or 1)),
        places=(),
        blank_id=blank_token(config),
        target="",
        value=value_of(0),
        probability=probability_of(0),
    )
    if token is None:
        with torch.no_grad():
            ids = _row(found)
            token = int(everything(ids, torch.ones_like(ids, dtype=torch.bool)).argmax())
    name = token_bytes(tokenizer, token).decode("utf-8", errors="replace")
    return replace(found, target=name, value=value_of(token), probability=probability_of(token))


def _row(prediction: Prediction) -> Tensor:
    device = next(prediction.embedding.parameters()).device
    return torch.tensor([prediction.input_ids], dtype=torch.int64, device=device)


def _at_places(scores: Tensor, places: Tensor) -> Tensor:
    """Add the first score at the first place and the second at the second: (B, T, 2) and (B, 2) to (B,)."""
    rows = torch.arange(len(scores), device=scores.device)
    return scores[rows, places[:, 0], 0] + scores[rows, places[:, 1], 1]


def _encode(tokenizer: Tokenizer, text: str) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Tokens of plain text and the characters each brings; what looks like a control token is text too."""
    before = tokenizer.encode_special_tokens
    tokenizer.encode_special_tokens = True
    try:
        encoding = tokenizer.encode(text, add_special_tokens=False)
    finally:
        tokenizer.encode_special_tokens = before
    pieces, reached = [], 0
    for _, end in encoding.offsets:
        pieces.append(text[reached:end])
        reached = max(reached, end)
    return tuple(encoding.ids), tuple(pieces)


def _touched(pieces: Sequence[str], characters: tuple[int, int]) -> tuple[int, int]:
    """The first and the last token, inclusive, that bring one of the characters [start, end)."""
    found, reached = [], 0
    for place, piece in enumerate(pieces):
        if reached < characters[1] and reached + len(piece) > characters[0]:
            found.append(place)
        reached += len(piece)
    if not found:
        raise ValueError(f"no token stands at the characters {characters[0]} to {characters[1]}")
    return found[0], found[-1]


def _opening(config: ModelConfig) -> int:
    if config.bos_token_id is not None:
        return config.bos_token_id
    return next(iter(config.eos_token_ids), 0)
