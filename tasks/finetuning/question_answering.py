"""Question answering: the trunk learns to point at the answer to a question in a context, or at none."""

from __future__ import annotations

import logging
import math
import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from models.finetuning_config import FineTuningConfig
from tasks.artifacts import Artifact, fingerprint_of, sha256_of
from tasks.config import StageConfig
from tasks.errors import DataError
from tasks.finetuning.common import (
    Base,
    FineTuningSummary,
    Lesson,
    Row,
    labelled_rows,
    longest_input,
    open_base,
    summarise,
    teach,
    write_curves,
    write_facts,
)

if TYPE_CHECKING:
    from models.examples import Example
    from models.heads import SpanExtractor

logger = logging.getLogger(__name__)

TASK = "question-answering"
_CANDIDATES = 20  # thresholds to choose from: with few validation rows a finer choice only fits their noise
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


class QuestionAnsweringConfig(StageConfig):
    """How the head that points at answers is taught, and how its answers are read off."""

    training: FineTuningConfig = Field(
        FineTuningConfig(steps=150, batch_size=32, max_tokens=128, adam_learning_rate=0.003),
        description="Optimiser, length, batches. `max_tokens` is the window: question and part of a context.",
    )
    bidirectional: bool = Field(
        True,
        description="Let every word see the words after it too; false keeps the causal mask of pretraining.",
    )
    doc_stride: int = Field(
        90,
        ge=1,
        le=1_000_000,
        description="Tokens between the beginnings of two windows of a context; cut to the window's room.",
    )
    windows_without_answer: float = Field(
        1.0,
        ge=0.0,
        le=1000.0,
        description="Windows that do not hold the answer to learn from, for each training row; a fraction is "
        "a chance. All of them would drown the others.",
    )
    max_answer_tokens: int = Field(64, ge=1, le=1024, description="Tokens of an answer at most.")
    temperature: float = Field(
        0.7,
        gt=0.0,
        le=100.0,
        description="Divides the log-odds of spans before the best is looked for; below 1 trusts them more.",
    )


def finetune_question_answering(
    inputs: Mapping[str, Artifact], config: QuestionAnsweringConfig, folder: Path
) -> FineTuningSummary:
    """Teach a span extractor on the training rows and write it; resumes what a killed attempt left behind.

    When to answer nothing is chosen on the validation rows, whose F1 is therefore a little too good.

    Raises:
        ArtifactError: the base model or the labelled set cannot be used.
        DataError: a split has no row, or no training row fits the model.
    """
    from models import answering
    from models.head_export import save_head
    from models.heads import SpanExtractor

    base = open_base(inputs)
    lesson, held_out = lesson_of(inputs, config, base), labelled_rows(inputs, TASK, "validation")
    rows, examples, left_out = lesson.rows, lesson.examples, lesson.incomplete
    longest = longest_input(base, config.training)
    logger.info("question answering: %d training rows, %d left out", len(rows), left_out)
    prior = _place_prior(rows, base)
    taught, history = teach(
        SpanExtractor(base.model, bidirectional=config.bidirectional, seed=config.training.seed),
        examples,
        config.training,
        folder,
        base=base,
        labelled=_digest(inputs["cleaning"], config),
        validate=_validation(base, held_out, config, longest, prior),
    )
    settings = {
        answering.DOC_STRIDE: float(config.doc_stride),
        answering.MAX_ANSWER_TOKENS: float(config.max_answer_tokens),
        answering.TEMPERATURE: config.temperature,
        answering.NO_ANSWER_THRESHOLD: taught.metrics[f"validation/{answering.NO_ANSWER_THRESHOLD}"],
    }
    save_head(
        taught.head, folder, base.tokenizer_json, max_tokens=longest, settings=settings, place_prior=prior
    )
    write_curves(history, folder)
    summary = summarise(TASK, base, config.training, history, len(examples), left_out)
    write_facts(summary, config, folder)
    return summary


def lesson_of(inputs: Mapping[str, Artifact], config: QuestionAnsweringConfig, base: Base) -> Lesson:
    """The training rows as windows to learn from; rows whose answer every window cuts are left out.

    Raises:
        ArtifactError: the labelled set cannot be used.
        DataError: there is no row, or none that fits the model.
    """
    rows, longest = labelled_rows(inputs, TASK, "train"), longest_input(base, config.training)
    examples, left_out = encode_rows(rows, config, base, longest)
    if not examples:
        raise DataError(
            f"none of {len(rows)} training rows fits {longest} tokens",
            where=inputs["cleaning"].file(f"labelled/{TASK}.parquet"),
            remedy="raise max_tokens, lower doc_stride, or give the base model a longer context",
        )
    return Lesson(rows, examples, left_out)


def encode_rows(
    rows: Sequence[Row], config: QuestionAnsweringConfig, base: Base, max_tokens: int
) -> tuple[list[Example], int]:
    """Windows to learn from: all that hold the whole answer, and a draw of those without it.

    A window that cuts the answer is left out: neither a place nor "not here" would be true. Also returns how
    many rows have an answer that every window cuts; nothing is learnt from them.
    """
    from models.answering import encode_texts, target, tokens_of_span, windows
    from models.examples import Example
    from models.heads import NO_ANSWER

    questions = encode_texts(base.tokenizer, [row["question"] for row in rows])
    contexts = encode_texts(base.tokenizer, [row["context"] for row in rows])
    generator = np.random.default_rng(config.training.seed)
    examples: list[Example] = []
    left_out = 0
    for row, question, context in zip(rows, questions, contexts, strict=True):
        start, end = row["answer_start"], row["answer_start"] + len(row["answer"])
        span = tokens_of_span(context.offsets, start, end) if row["answer"] else None
        found = windows(
            base.tokenizer, question, context, max_tokens=max_tokens, doc_stride=config.doc_stride
        )
        told = [(window.input_ids, target(window, span)) for window in found]
        usable = [Example(ids, at, str(row["id"])) for ids, at in told if at]
        holding = [example for example in usable if example.targets[0] != NO_ANSWER]
        without = [example for example in usable if example.targets[0] == NO_ANSWER]
        whole, chance = divmod(config.windows_without_answer, 1.0)
        wanted, order = int(whole) + int(generator.random() < chance), generator.permutation(len(without))
        if span is None or holding:
            examples += [*holding, *(without[place] for place in order[:wanted])]
        else:
            left_out += 1
    return examples, left_out


def words_of(text: str) -> list[str]:
    """The words that are compared: lower case, without punctuation and articles (SQuAD's rule)."""
    return _ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split()


def exact_match(predicted: str, gold: str) -> float:
    """1 if the words are the same, else 0 (Rajpurkar et al. 2016); no answer is the same as no answer only."""
    return float(bool(predicted) == bool(gold) and words_of(predicted) == words_of(gold))


def token_f1(predicted: str, gold: str) -> float:
    """Harmonic mean of precision and recall of the words.

    With no word on a side it is the exact match. A lone "the" is an answer, if an empty one: SQuAD's own script
    takes it for none, and so pays for it at an unanswerable question.
    """
    given, wanted = words_of(predicted), words_of(gold)
    if not given or not wanted:
        return exact_match(predicted, gold)
    shared = sum((Counter(given) & Counter(wanted)).values())
    return 2.0 * shared / (len(given) + len(wanted))


def choose_threshold(ratios: Sequence[float], spoken: Sequence[float], silent: Sequence[float]) -> float:
    """Choose how large `Found.silence` may be before silence is better.

    Args:
        ratios: of each validation row.
        spoken: F1 of each row's best span.
        silent: F1 of each row when nothing is answered.

    Returns:
        The one of at most `_CANDIDATES` + 2 values with the greatest mean F1; of equals the largest, which
        answers most.
    """
    each, spoke, still = np.asarray(ratios), np.asarray(spoken), np.asarray(silent)
    quantiles = np.quantile(each, np.linspace(0.0, 1.0, _CANDIDATES + 1), method="higher")
    candidates = sorted({0.0, *quantiles.tolist()})
    best: float = max(candidates, key=lambda most: (float(np.where(each > most, still, spoke).mean()), most))
    return best


def _place_prior(rows: Sequence[Row], base: Base) -> tuple[float, ...]:
    """Where the answers of these rows begin."""
    from models.answering import encode_texts, tokens_of_span
    from models.place_prior import fit_place_prior

    answered = [row for row in rows if row["answer"]]
    contexts = encode_texts(base.tokenizer, [row["context"] for row in answered])
    starts = [
        tokens_of_span(context.offsets, row["answer_start"], row["answer_start"] + len(row["answer"]))[0]
        for row, context in zip(answered, contexts, strict=True)
    ]
    return fit_place_prior(starts, [len(context.ids) for context in contexts])


def _validation(
    base: Base,
    rows: Sequence[Row],
    config: QuestionAnsweringConfig,
    max_tokens: int,
    prior: tuple[float, ...],
) -> Callable[[SpanExtractor], dict[str, float]]:
    """Measure exact match and F1 on `rows` at the threshold that suits them best."""
    from models import answering
    from models.best_span import best_span

    golds, texts = [str(row["answer"]) for row in rows], [str(row["context"]) for row in rows]
    questions = answering.encode_texts(base.tokenizer, [str(row["question"]) for row in rows])
    contexts = answering.encode_texts(base.tokenizer, texts)

    def measure(head: SpanExtractor) -> dict[str, float]:
        readings = answering.read(
            head,
            base.tokenizer,
            questions,
            contexts,
            max_tokens=max_tokens,
            doc_stride=config.doc_stride,
            place_prior=prior,
        )
        spans = [best_span(each, config.max_answer_tokens, config.temperature) for each in readings]

        def answered(threshold: float) -> list[answering.Answer]:
            return [
                answering.decide(text, context.offsets, span, threshold)
                for text, context, span in zip(texts, contexts, spans, strict=True)
            ]

        always = answered(math.inf)
        threshold = choose_threshold(
            [0.0 if span is None else span.silence for span in spans],
            [token_f1(each.text, gold) for each, gold in zip(always, golds, strict=True)],
            [token_f1("", gold) for gold in golds],
        )
        final = [each.text for each in answered(threshold)]
        return {
            "exact_match": float(np.mean([exact_match(*pair) for pair in zip(final, golds, strict=True)])),
            "f1": float(np.mean([token_f1(*pair) for pair in zip(final, golds, strict=True)])),
            answering.NO_ANSWER_THRESHOLD: threshold,
        }

    return measure


def _digest(cleaning: Artifact, config: QuestionAnsweringConfig) -> str:
    """What the examples are and how they are seen: a checkpoint of anything else is not taken up."""
    rows = sha256_of(cleaning.file(f"labelled/{TASK}.parquet"))
    return fingerprint_of({"rows": rows, "config": config.model_dump(mode="json", exclude={"training"})})
