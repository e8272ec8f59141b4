"""Question answering by extraction: `<|endoftext|> question <|sep|> context`, and the span the head points at.

A context longer than the model is read in overlapping windows (Devlin et al. 2019, BERT). Every window weighs
each of its tokens against its own "the answer is not here" (position 0), so the odds of all windows can be
laid side by side over the context, however many windows there are.

Which span these odds speak for, decides `models.best_span`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from models.best_span import Found, Reading, best_span
from models.examples import Example, collate
from models.execution import resolve_precision
from models.export import SEPARATOR
from models.head_export import HeadConfig
from models.heads import NO_ANSWER, SpanExtractor
from models.place_prior import place_log_odds
from models.scoring import autocast

DOC_STRIDE, MAX_ANSWER_TOKENS = "doc_stride", "max_answer_tokens"
NO_ANSWER_THRESHOLD, TEMPERATURE = "no_answer_threshold", "temperature"
SETTINGS = frozenset({DOC_STRIDE, MAX_ANSWER_TOKENS, NO_ANSWER_THRESHOLD, TEMPERATURE})
BEGIN = "<|endoftext|>"
Floats = NDArray[np.float64]
Offsets = tuple[tuple[int, int], ...]


class Encoded(NamedTuple):
    """Tokens of a text and the characters [start, end) each of them touches."""

    ids: tuple[int, ...]
    offsets: Offsets


class Window(NamedTuple):
    """One reading of a question with a part of its context."""

    input_ids: tuple[int, ...]
    prefix: int  # place in `input_ids` of the first token of the context
    first: int  # number, in the context, of that token

    @property
    def tokens(self) -> int:
        """Tokens of the context that it holds."""
        return len(self.input_ids) - self.prefix


class Answer(NamedTuple):
    """What the model answers. ``text`` is ``context[start : start + len(text)]``, or "" with start -1.

    ``score`` is the F1 that the best span is expected to have, ``no_answer_score`` that of answering nothing,
    which is the probability that the context does not say; both in [0, 1].
    """

    text: str
    start: int
    score: float
    no_answer_score: float


def encode_texts(tokenizer: Tokenizer, texts: Sequence[str]) -> list[Encoded]:
    """Tokenise plain text, equal texts once; what looks like a special token is text as well.

    A character of several tokens has all of them at its place; offsets never decrease.
    """
    distinct = list(dict.fromkeys(texts))
    with _plain(tokenizer):
        encodings = tokenizer.encode_batch(distinct, add_special_tokens=False)
    encoded = (Encoded(tuple(each.ids), tuple(each.offsets)) for each in encodings)
    known = dict(zip(distinct, encoded, strict=True))
    return [known[text] for text in texts]


def windows(
    tokenizer: Tokenizer, question: Encoded, context: Encoded, *, max_tokens: int, doc_stride: int
) -> list[Window]:
    """Read a context in windows that begin `doc_stride` tokens apart; the last one ends where it ends.

    No token of it is left out: a stride longer than a window's room is cut to it, and a question of more than
    half of `max_tokens` loses its end. Raises ValueError if `max_tokens` leaves no room.
    """
    begin, separator = _special(tokenizer, BEGIN), _special(tokenizer, SEPARATOR)
    prefix = (begin, *question.ids[: max_tokens // 2 - 1], separator)
    room = max_tokens - len(prefix)
    if room < 1:
        raise ValueError(f"{max_tokens} tokens hold no question and context; give at least 4")
    total, stride = len(context.ids), max(1, min(doc_stride, room))
    starts = [0, *(place + stride for place in range(0, max(0, total - room), stride))]
    return [
        Window((*prefix, *context.ids[first : first + room]), len(prefix), first)
        for first in (min(start, max(0, total - room)) for start in starts)
    ]


def tokens_of_span(offsets: Offsets, start: int, end: int) -> tuple[int, int]:
    """The first and the last token (inclusive) that touch the characters [start, end).

    Raises ValueError for an empty span, or one that no token touches.
    """
    first = bisect_right(offsets, start, key=lambda each: each[1])
    last = bisect_left(offsets, end, key=lambda each: each[0]) - 1
    if start >= end or first > last:
        raise ValueError(f"no token stands at the characters {start} to {end}")
    return first, last


def target(window: Window, span: tuple[int, int] | None) -> tuple[int, int] | None:
    """Places of the answer's first and last token; (0, 0) if it is elsewhere, None if the window cuts it."""
    if span is None or span[1] < window.first or span[0] >= window.first + window.tokens:
        return NO_ANSWER, NO_ANSWER
    if span[0] < window.first or span[1] >= window.first + window.tokens:
        return None
    shift = window.prefix - window.first
    return span[0] + shift, span[1] + shift


def answer(
    head: SpanExtractor,
    tokenizer: Tokenizer,
    questions: Sequence[str],
    contexts: Sequence[str],
    *,
    config: HeadConfig,
    batch_size: int = 32,
) -> list[Answer]:
    """Answer each question from its context, or with "" where `config.settings` lets silence win.

    The settings are `DOC_STRIDE`, `MAX_ANSWER_TOKENS`, `TEMPERATURE` and `NO_ANSWER_THRESHOLD`, as fine-tuning
    stored them. An answer never has space at its ends; where only space is found, there is no answer.

    Raises:
        ValueError: questions and contexts differ in number, or a setting or special token is missing.
    """
    missing = sorted(SETTINGS - config.settings.keys())
    if missing:
        raise ValueError(f"the head's settings lack {', '.join(missing)}")
    if len(questions) != len(contexts):
        raise ValueError(f"{len(questions)} questions do not match {len(contexts)} contexts")
    asked, told = encode_texts(tokenizer, questions), encode_texts(tokenizer, contexts)
    readings = read(
        head,
        tokenizer,
        asked,
        told,
        max_tokens=config.max_tokens,
        doc_stride=int(config.settings[DOC_STRIDE]),
        place_prior=config.place_prior,
        batch_size=batch_size,
    )
    longest, temperature = int(config.settings[MAX_ANSWER_TOKENS]), config.settings[TEMPERATURE]
    spans = [best_span(reading, longest, temperature) for reading in readings]
    return [
        decide(context, tokens.offsets, span, config.settings[NO_ANSWER_THRESHOLD])
        for context, tokens, span in zip(contexts, told, spans, strict=True)
    ]


@torch.inference_mode()
def read(
    head: SpanExtractor,
    tokenizer: Tokenizer,
    questions: Sequence[Encoded],
    contexts: Sequence[Encoded],
    *,
    max_tokens: int,
    doc_stride: int,
    place_prior: Sequence[float] = (),
    batch_size: int = 32,
) -> list[Reading]:
    """Score every token of every context; where windows overlap, their log-odds are averaged.

    What the head cannot see, where in the context a window stands, `place_prior` adds. The head is used as it
    is: put it into evaluation mode before.
    """
    jobs = [
        (number, window)
        for number, (question, context) in enumerate(zip(questions, contexts, strict=True))
        for window in windows(tokenizer, question, context, max_tokens=max_tokens, doc_stride=doc_stride)
        if window.tokens
    ]
    jobs.sort(key=lambda job: (-len(job[1].input_ids), job[0], job[1].first))  # little padding
    totals = [np.zeros((len(context.ids), 3)) for context in contexts]
    for at in range(0, len(jobs), batch_size):
        batch = jobs[at : at + batch_size]
        for (number, window), odds in zip(batch, _log_odds(head, [job[1] for job in batch]), strict=True):
            held = totals[number][window.first : window.first + window.tokens]
            held[:, :2] += odds[window.prefix : len(window.input_ids)]
            held[:, 2] += 1
    return [
        Reading(each[:, 0] / each[:, 2] + place_log_odds(place_prior, len(each)), each[:, 1] / each[:, 2])
        for each in totals
    ]


def decide(context: str, offsets: Offsets, found: Found | None, threshold: float) -> Answer:
    """Answer with the span unless silence is expected to be worth more than `threshold` times as much."""
    if found is None:
        return Answer("", -1, 0.0, 1.0)
    start, end = offsets[found.first][0], offsets[found.last][1]
    text = context[start:end]
    start += len(text) - len(text.lstrip())
    text = text.strip()
    silent = not text or found.silence > threshold
    return Answer("" if silent else text, -1 if silent else start, found.expected_f1, found.no_answer)


def _log_odds(head: SpanExtractor, read_together: Sequence[Window]) -> Floats:
    """(B, T, 2) scores less that of position 0."""
    batch = collate([Example(window.input_ids, ()) for window in read_together], pad_id=0)
    device = head.score.weight.device
    with autocast(device, resolve_precision("auto", device)):
        scores = head(batch.input_ids.to(device), batch.attention_mask.to(device)).double()
    odds: Floats = (scores - scores[:, :1]).cpu().numpy()
    return odds


def _special(tokenizer: Tokenizer, name: str) -> int:
    found = tokenizer.token_to_id(name)
    if found is None:
        raise ValueError(f"the tokenizer has no {name}")
    return int(found)


@contextmanager
def _plain(tokenizer: Tokenizer) -> Iterator[None]:
    before = tokenizer.encode_special_tokens
    tokenizer.encode_special_tokens = True
    try:
        yield
    finally:
        tokenizer.encode_special_tokens = before
