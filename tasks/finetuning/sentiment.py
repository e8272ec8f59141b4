"""Sentiment analysis: the trunk learns to give a text one of the labels found in the training rows."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

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
    from models.heads import Classifier

logger = logging.getLogger(__name__)

TASK = "sentiment"


class SentimentConfig(StageConfig):
    """How the sentiment classifier is taught. Its labels are those of the training rows, whatever they are."""

    training: FineTuningConfig = Field(FineTuningConfig(), description="Optimiser, length, batches.")
    bidirectional: bool = Field(
        True,
        description="Let every word see the words after it too; false keeps the causal mask of pretraining.",
    )


class SentimentSummary(FineTuningSummary):
    """How the classifier was taught: ``cut`` training rows were longer than the tokens it reads."""

    labels: dict[str, int]  # training rows of each
    cut: int


def finetune_sentiment(
    inputs: Mapping[str, Artifact], config: SentimentConfig, folder: Path
) -> SentimentSummary:
    """Teach a classifier on the training rows and write it; resumes what a killed attempt left behind.

    Raises:
        ArtifactError: the base model or the labelled set cannot be used.
        DataError: there are fewer than two labels, or a split has no row.
    """
    from models.head_export import save_head
    from models.heads import Classifier

    base = open_base(inputs)
    lesson, held_out = lesson_of(inputs, config, base), labelled_rows(inputs, TASK, "validation")
    rows, examples, cut = lesson.rows, lesson.examples, lesson.incomplete
    labels, longest = label_names(rows, inputs["cleaning"]), longest_input(base, config.training)
    logger.info("sentiment: %d training rows, labels %s", len(rows), ", ".join(labels))
    if cut:
        logger.info("sentiment: of %d rows only the first %d tokens are read", cut, longest)
    taught, history = teach(
        Classifier(base.model, labels, bidirectional=config.bidirectional, seed=config.training.seed),
        examples,
        config.training,
        folder,
        base=base,
        labelled=_digest(inputs["cleaning"], config),
        validate=_validation(base, held_out, labels, longest),
    )
    save_head(taught.head, folder, base.tokenizer_json, max_tokens=longest, settings={})
    write_curves(history, folder)
    told = summarise(TASK, base, config.training, history, len(examples), left_out=0)
    counts = Counter(str(row["label"]) for row in rows)
    summary = SentimentSummary(
        **told.model_dump(), labels={label: counts[label] for label in labels}, cut=cut
    )
    write_facts(summary, config, folder)
    return summary


def lesson_of(inputs: Mapping[str, Artifact], config: SentimentConfig, base: Base) -> Lesson:
    """The training rows as examples; each is read up to the longest input.

    Raises:
        ArtifactError: the labelled set cannot be used.
        DataError: there are fewer than two labels, or no row.
    """
    rows = labelled_rows(inputs, TASK, "train")
    labels = label_names(rows, inputs["cleaning"])
    return Lesson(rows, *encode_rows(rows, labels, base, longest_input(base, config.training)))


def label_names(rows: Sequence[Row], cleaning: Artifact) -> tuple[str, ...]:
    """The labels to tell apart, sorted.

    Raises:
        DataError: there are fewer than two.
    """
    labels = tuple(sorted({str(row["label"]) for row in rows}))
    if len(labels) < 2:
        raise DataError(
            f"every training row has the label {labels[0]!r}; a classifier needs two labels or more",
            where=cleaning.file(f"labelled/{TASK}.parquet"),
            remedy="add rows of another label, or name the column that holds the labels (label: ...)",
        )
    return labels


def encode_rows(
    rows: Sequence[Row], labels: Sequence[str], base: Base, max_tokens: int
) -> tuple[list[Example], int]:
    """Encode labelled rows; also return how many were cut at `max_tokens`."""
    from models.classification import encode_text, opening_token
    from models.examples import Example

    bos_id, numbers = opening_token(base.model.config), {label: n for n, label in enumerate(labels)}
    encoded = [encode_text(base.tokenizer, row["text"], max_tokens + 1, bos_id) for row in rows]
    examples = [
        Example(ids[:max_tokens], (numbers[str(row["label"])],), str(row["id"]))
        for ids, row in zip(encoded, rows, strict=True)
    ]
    return examples, sum(len(ids) > max_tokens for ids in encoded)


def _validation(
    base: Base, rows: Sequence[Row], labels: Sequence[str], max_tokens: int
) -> Callable[[Classifier], dict[str, float]]:
    """Measure accuracy and macro-F1 on `rows`; a label that training does not know cannot be got right."""
    import numpy as np

    from models.classification import classify, label_counts, macro_f1

    texts, known = [str(row["text"]) for row in rows], (*labels, *_unknown(rows, labels))
    gold = np.array([known.index(str(row["label"])) for row in rows])

    def measure(head: Classifier) -> dict[str, float]:
        chosen = classify(head, base.tokenizer, texts, max_tokens=max_tokens).argmax(axis=1)
        f1 = macro_f1(label_counts(gold, chosen, len(known)))
        return {"accuracy": float((chosen == gold).mean()), "macro_f1": float(f1)}

    return measure


def _unknown(rows: Sequence[Row], labels: Sequence[str]) -> list[str]:
    return sorted({str(row["label"]) for row in rows} - set(labels))


def _digest(cleaning: Artifact, config: SentimentConfig) -> str:
    """What the examples are and how they are seen: a checkpoint of anything else is not taken up."""
    rows = sha256_of(cleaning.file(f"labelled/{TASK}.parquet"))
    return fingerprint_of({"rows": rows, "bidirectional": config.bidirectional})
