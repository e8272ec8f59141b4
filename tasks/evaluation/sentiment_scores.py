"""How well the sentiment classifier does on test texts, beside two baselines that learn from the same rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks import tables
from tasks.artifacts import Artifact
from tasks.errors import ArtifactError, DataError
from tasks.evaluation.bootstrap import interval
from tasks.evaluation.calibration import BINS, calibrated_errors, calibration_error
from tasks.evaluation.comparison import with_differences
from tasks.evaluation.findings import Findings, Item
from tasks.evaluation.proportions import wilson
from tasks.evaluation.records import Record, rounded
from tasks.evaluation.sentiment_baselines import (
    LOGISTIC,
    MAJORITY,
    Answers,
    Floats,
    LabelledTexts,
    Places,
    likeliest,
    logistic_regression,
    majority,
    numbers,
)

SUITE, MODEL = "sentiment", "model"
ACCURACY, MACRO_F1, CORRECT = "accuracy", "macro_f1", "correct"
CALIBRATION = "calibration_error"
_SHOWN, _SHOWN_CHARACTERS = 12, 500
_CELLS = 1 << 21  # drawn numbers in memory at a time
_SHOWN_STREAM = 2  # of random numbers, beside the bootstrap's


def examine_sentiment(model: Artifact, cleaning: Artifact, *, samples: int, seed: int) -> Findings:
    """Score a fine-tuned classifier and its baselines on the test rows.

    Args:
        model: what fine-tuning wrote.
        cleaning: where the labelled rows are; baselines learn from its training rows alone.
        samples: drawings of test texts for a bootstrap interval.
        seed: of all that is drawn.

    Raises:
        ArtifactError: the classifier or the labelled rows cannot be read.
        DataError: a split has no row.
    """
    splits = {name: _rows(cleaning, name) for name in ("train", "validation", "test")}
    test = splits["test"]
    known, probabilities = _classify(model, test.texts)
    labels = tuple(sorted({*known, *splits["train"].labels, *test.labels}))
    gold = numbers(test.labels, labels)
    answers = {
        MODEL: likeliest(probabilities, numbers(known, labels), "fine-tuned classifier"),
        MAJORITY: majority(splits["train"], labels, len(gold)),
        LOGISTIC: logistic_regression(splits, labels),
    }
    found = Findings(shown=_shown(test, gold, answers, labels, seed))
    found.add(_compare(gold, answers, len(labels), samples, seed))
    for name, each in answers.items():
        found.add(_calibration(name, each, gold, samples, seed))
        found.items.extend(_items(test.ids, name, each.predicted == gold))
    return found


def _classify(model: Artifact, texts: Sequence[str]) -> tuple[tuple[str, ...], Floats]:
    """The labels that the classifier knows, and their probabilities for every text."""
    from models.classification import classify
    from models.export import load_tokenizer
    from models.head_export import load_head
    from models.heads import Classifier

    try:
        head, config = load_head(model.path)
        tokenizer = load_tokenizer(model.path)
    except ValueError as error:
        raise ArtifactError(str(error), stage=model.stage, remedy="run the fine-tuning again") from error
    if not isinstance(head, Classifier):
        raise ArtifactError(
            f"holds a head for {config.task}, not a classifier",
            stage=model.stage,
            where=model.path,
            remedy="give the folder of a classifier",
        )
    return head.labels, classify(head, tokenizer, texts, max_tokens=config.max_tokens)


def _rows(cleaning: Artifact, split: str) -> LabelledTexts:
    path = cleaning.file("labelled/sentiment.parquet")
    rows = [row for row in tables.iterate(path, ["id", "text", "label", "split"]) if row["split"] == split]
    if not rows:
        raise DataError(f"the {split} split has no row", where=path, remedy="add labelled rows")
    return LabelledTexts(*(tuple(str(row[name]) for row in rows) for name in ("id", "text", "label")))


def _compare(
    gold: Places, answers: Mapping[str, Answers], labels: int, samples: int, seed: int
) -> Iterator[Record]:
    """Accuracy and macro-F1 of every model, and the classifier's less each baseline's, on the same drawings."""
    columns = np.column_stack([gold, *(each.predicted for each in answers.values())])
    # Texts with equal labels are alike: drawing texts anew is drawing how many there are of each kind.
    kinds, counts = np.unique(columns, axis=0, return_counts=True)
    values = with_differences(_scores(kinds, counts[None], labels))[:, 0]
    drawn = with_differences(_replicates(kinds, counts, labels, samples, seed))
    names = [*answers, *(name for name in answers if name != MODEL)]
    for row, metric in enumerate((ACCURACY, MACRO_F1)):
        for place, name in enumerate(names):
            paired = place >= len(answers)
            if metric == ACCURACY and not paired:
                low, high = wilson(float(values[row, place]), len(gold))
                how = f"{answers[name].method}; Wilson interval"
            else:
                low, high = interval(drawn[row, :, place])
                said = "paired, above 0 is better" if paired else answers[name].method
                how = f"{said}; bootstrap, {samples} draws"
            yield Record(
                suite=SUITE,
                metric=f"{metric}_difference" if paired else metric,
                model=MODEL if paired else name,
                baseline=name if paired else "",
                value=float(values[row, place]),
                low=low,
                high=high,
                n=len(gold),
                unit="share" if metric == ACCURACY else "F1",
                method=how,
            )


def _scores(kinds: Places, counts: NDArray[Any], labels: int) -> Floats:
    """Accuracy and macro-F1 (2, S, models) from (S, kinds) numbers of texts of each kind."""
    from models.classification import LabelCounts, macro_f1

    eye = np.eye(labels)
    gold, total = kinds[:, 0], counts.sum(axis=1)
    found = []
    for predicted in kinds.T[1:]:
        right = gold == predicted
        there, said = eye[gold], eye[predicted]
        f1 = macro_f1(LabelCounts(counts @ there, counts @ said, counts @ (there * right[:, None])))
        found.append((counts @ right / total, f1))
    return np.array(found).transpose(1, 2, 0)


def _replicates(kinds: Places, counts: Places, labels: int, samples: int, seed: int) -> Floats:
    """`_scores` of `samples` drawings of as many texts, with replacement."""
    generator, texts = np.random.default_rng(seed), int(counts.sum())
    step = max(1, _CELLS // len(kinds))
    sizes = (min(step, samples - start) for start in range(0, samples, step))
    drawn = (generator.multinomial(texts, counts / texts, size=size) for size in sizes)
    return np.concatenate([_scores(kinds, each, labels) for each in drawn], axis=1)


def _calibration(name: str, each: Answers, gold: Places, samples: int, seed: int) -> Iterator[Record]:
    """The calibration error, what it would be if the model were calibrated, and the excess.

    With few texts the error of a perfectly calibrated model is far from 0, so it says nothing by itself.
    """
    if each.confidence is None:
        return
    n = len(gold)
    error = float(calibration_error(each.confidence, each.predicted == gold))
    null = calibrated_errors(each.confidence, samples, seed)
    chance, how = float(null.mean()), f"{min(BINS, n)} bins of equal mass"
    simulated = f"{how}; a calibrated model's, {samples} simulations"

    told = (
        (CALIBRATION, error, (None, None), f"{how}; read it beside {CALIBRATION}_null"),
        (f"{CALIBRATION}_null", chance, interval(null), simulated),
        (f"{CALIBRATION}_excess", error - chance, (None, None), f"{how}; less the mean of the null"),
    )
    for metric, value, (low, high), method in told:
        yield Record(SUITE, metric, name, value, n, "probability", method, low=low, high=high)


def _items(ids: Sequence[str], name: str, right: NDArray[np.bool_]) -> Iterator[Item]:
    for identity, value in zip(ids, right, strict=True):
        yield Item(SUITE, CORRECT, identity, identity, name, float(value))


def _shown(
    test: LabelledTexts, gold: Places, answers: Mapping[str, Answers], labels: Sequence[str], seed: int
) -> dict[str, Any]:
    """The confusion matrix, true labels by row, and a dozen texts: half of them misread, where there are."""
    own, sure = answers[MODEL].predicted, answers[MODEL].confidence
    counts = np.bincount(gold * len(labels) + own, minlength=len(labels) ** 2)
    return {
        "labels": list(labels),
        "confusion": counts.reshape(len(labels), len(labels)).tolist(),
        "predictions": [
            {
                "id": test.ids[place],
                "text": _shortened(test.texts[place]),
                "gold": test.labels[place],
                "predicted": labels[own[place]],
                "probability": None if sure is None else rounded(sure[place]),
            }
            for place in _sample(own == gold, seed)
        ],
    }


def _sample(right: NDArray[np.bool_], seed: int) -> list[int]:
    order = np.random.default_rng([_SHOWN_STREAM, seed]).permutation(len(right))
    wrong, well = order[~right[order]], order[right[order]]
    half = max(_SHOWN // 2, _SHOWN - len(well))
    misread = wrong[:half]
    return sorted([*misread.tolist(), *well[: _SHOWN - len(misread)].tolist()])


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"
