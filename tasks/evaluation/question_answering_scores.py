"""How well the span extractor answers test questions, beside baselines that see the same contexts.

Exact match and token F1 as SQuAD takes them (Rajpurkar et al. 2016; with unanswerable questions, 2018).
Questions about one context resemble each other, so contexts are drawn anew for an interval, not questions.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks import tables
from tasks.artifacts import Artifact
from tasks.errors import ArtifactError, DataError
from tasks.evaluation.bootstrap import interval, ratio_replicates
from tasks.evaluation.comparison import MODEL, with_differences
from tasks.evaluation.findings import Findings, Item
from tasks.evaluation.records import Record, rounded
from tasks.finetuning.question_answering import TASK, exact_match, token_f1, words_of

SUITE = "question_answering"
ALWAYS_NO_ANSWER, RANDOM_SPAN = "always_no_answer", "random_span"
LEADING_WORDS, SLIDING_WINDOW = "leading_words", "sliding_window"
EXACT_MATCH, F1 = "exact_match", "f1"
ANSWERABLE, UNANSWERABLE = "answerable", "unanswerable"
METHODS = {
    MODEL: "fine-tuned span extractor",
    ALWAYS_NO_ANSWER: "answers nothing",
    RANDOM_SPAN: "a random span, as long as a random training answer",
    LEADING_WORDS: "the first words of the context, as many as give the best F1 on training rows",
    SLIDING_WINDOW: "the sentence that shares the rarest words with the question",
}
_METRICS: Mapping[str, Callable[[str, str], float]] = {EXACT_MATCH: exact_match, F1: token_f1}
_COLUMNS = ["id", "context_id", "context", "question", "answer", "split"]
_LEADING = (1, 2, 3, 5, 10, 15, 20, 30, 40, 60, 80)
_LEADING_ROWS = 500
_SHOWN, _SHOWN_CHARACTERS = 12, 500
_SPAN_STREAM, _SHOWN_STREAM = 1, 2  # of random numbers, beside the bootstrap's
_WORD = re.compile(r"\S+")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+|\n+")
Row = dict[str, Any]
Floats = NDArray[np.float64]


def examine_question_answering(model: Artifact, cleaning: Artifact, *, samples: int, seed: int) -> Findings:
    """Score a fine-tuned span extractor and its baselines on the test rows.

    Args:
        model: what fine-tuning wrote.
        cleaning: where the labelled rows are; baselines learn from its training rows alone.
        samples: drawings of contexts for a bootstrap interval.
        seed: of all that is drawn.

    Raises:
        ArtifactError: the model or the labelled rows cannot be read.
        DataError: a split has no row, or no training row has an answer.
    """
    train, test = _rows(cleaning, "train"), _rows(cleaning, "test")
    answers = {
        MODEL: _model_answers(model, test),
        ALWAYS_NO_ANSWER: [""] * len(test),
        RANDOM_SPAN: random_spans(test, _answer_lengths(train, cleaning), seed),
        LEADING_WORDS: _leading(train, test),
        SLIDING_WINDOW: [sliding_window(row["question"], row["context"]) for row in test],
    }
    found = Findings(shown={"predictions": _shown(test, answers, seed)})
    for metric, measure in _METRICS.items():
        scores = np.array(
            [
                [measure(given, row["answer"]) for given, row in zip(each, test, strict=True)]
                for each in answers.values()
            ]
        ).T
        found.add(_records(metric, scores, test, samples, seed))
        for name, column in zip(answers, scores.T, strict=True):
            found.items.extend(
                Item(SUITE, metric, row["id"], row["context_id"], name, float(value))
                for row, value in zip(test, column, strict=True)
            )
    return found


def random_spans(rows: Sequence[Row], lengths: Sequence[int], seed: int) -> list[str]:
    """A span of whole words of each context, its length drawn from `lengths` (words), its place from all."""
    generator = np.random.default_rng([_SPAN_STREAM, seed])
    spans = []
    for row in rows:
        places = [match.span() for match in _WORD.finditer(row["context"])]
        length = min(int(generator.choice(lengths)), len(places))
        start = int(generator.integers(len(places) - length + 1))
        spans.append(row["context"][places[start][0] : places[start + length - 1][1]] if length else "")
    return spans


def leading_words(context: str, count: int) -> str:
    """The first `count` words of a context."""
    places = [match.span() for match in _WORD.finditer(context)][:count]
    return context[places[0][0] : places[-1][1]] if places else ""


def sliding_window(question: str, context: str) -> str:
    """The sentence whose words the question shares, a word weighing ln(1 + 1 / its number in the context).

    The inverse counts of Richardson, Burges & Renshaw 2013 (MCTest), with sentences as windows as the baseline
    of Rajpurkar et al. 2016 takes them. Of equal sentences the first.
    """
    counts, asked = Counter(words_of(context)), set(words_of(question))
    ends = [match.span() for match in _SENTENCE_END.finditer(context)]
    starts = [0, *(end for _, end in ends)]
    sentences = [
        context[start:end].strip()
        for start, end in zip(starts, [*(begin for begin, _ in ends), len(context)], strict=True)
    ]
    # Sorted, because the order of a set, and so the rounding of a sum, differs from run to run.
    return max(
        sentences,
        key=lambda each: sum(math.log(1 + 1 / counts[word]) for word in sorted(asked & set(words_of(each)))),
    )


def _model_answers(model: Artifact, rows: Sequence[Row]) -> list[str]:
    from models.answering import answer
    from models.export import load_tokenizer
    from models.head_export import load_head
    from models.heads import SpanExtractor

    try:
        head, config = load_head(model.path)
        tokenizer = load_tokenizer(model.path)
        if not isinstance(head, SpanExtractor):
            raise ValueError(f"{model.path} holds a head for {config.task}, not for {TASK}")
        questions, contexts = [row["question"] for row in rows], [row["context"] for row in rows]
        return [each.text for each in answer(head, tokenizer, questions, contexts, config=config)]
    except ValueError as error:
        raise ArtifactError(str(error), stage=model.stage, remedy="run the fine-tuning again") from error


def _rows(cleaning: Artifact, split: str) -> list[Row]:
    path = cleaning.file(f"labelled/{TASK}.parquet")
    rows = [row for row in tables.iterate(path, _COLUMNS) if row["split"] == split]
    if not rows:
        raise DataError(f"the {split} split has no row", where=path, remedy="add labelled rows")
    return rows


def _answer_lengths(train: Sequence[Row], cleaning: Artifact) -> list[int]:
    lengths = [len(row["answer"].split()) for row in train if row["answer"]]
    if not lengths:
        raise DataError(
            "no training row has an answer",
            where=cleaning.file(f"labelled/{TASK}.parquet"),
            remedy="add answerable questions",
        )
    return lengths


def _leading(train: Sequence[Row], test: Sequence[Row]) -> list[str]:
    """The first words of each test context, their number chosen on evenly spread training rows."""
    rows = train[:: math.ceil(len(train) / _LEADING_ROWS)]
    worth = {
        count: sum(token_f1(leading_words(row["context"], count), row["answer"]) for row in rows)
        for count in _LEADING
    }
    best = max(worth, key=lambda count: worth[count])
    return [leading_words(row["context"], best) for row in test]


def _records(metric: str, scores: Floats, rows: Sequence[Row], samples: int, seed: int) -> Iterator[Record]:
    """Means of (rows, models) scores and the model's less each baseline's: of all rows and by answerability."""
    answerable = np.array([bool(row["answer"]) for row in rows])
    contexts = np.array([row["context_id"] for row in rows])
    every = np.ones(len(rows), bool)
    names = list(METHODS)
    for condition, chosen in (("", every), (ANSWERABLE, answerable), (UNANSWERABLE, ~answerable)):
        if not chosen.any():
            continue
        values = with_differences(scores[chosen].mean(axis=0))
        _, places = np.unique(contexts[chosen], return_inverse=True)
        sums = np.stack([np.bincount(places, each) for each in scores[chosen].T], axis=1).astype(np.float64)
        clusters = len(sums)
        drawn = (
            None
            if clusters == 1
            else with_differences(ratio_replicates(sums, np.bincount(places), samples, seed))
        )
        how = (
            "no interval: one context"
            if drawn is None
            else f"bootstrap over {clusters} contexts, {samples} draws"
        )
        for place, name in enumerate([*names, *names[1:]]):
            paired = place >= len(names)
            low, high = (None, None) if drawn is None else interval(drawn[:, place])
            yield Record(
                suite=SUITE,
                metric=f"{metric}_difference" if paired else metric,
                model=MODEL if paired else name,
                baseline=name if paired else "",
                condition=condition,
                value=float(values[place]),
                low=low,
                high=high,
                n=int(chosen.sum()),
                unit="share" if metric == EXACT_MATCH else "F1",
                method=f"{'paired, above 0 is better' if paired else METHODS[name]}; {how}",
            )


def _shown(rows: Sequence[Row], answers: Mapping[str, Sequence[str]], seed: int) -> list[dict[str, Any]]:
    """A dozen questions drawn by the seed alone, not chosen."""
    order = np.random.default_rng([_SHOWN_STREAM, seed]).permutation(len(rows))[:_SHOWN]
    return [
        {
            "id": rows[place]["id"],
            "question": _shortened(rows[place]["question"]),
            "context": _shortened(rows[place]["context"]),
            "gold": _shortened(rows[place]["answer"]),
            "answers": {name: _shortened(each[place]) for name, each in answers.items()},
            "f1": rounded(token_f1(answers[MODEL][place], rows[place]["answer"])),
        }
        for place in sorted(order.tolist())
    ]


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"
