"""Ways to classify a text without a network, fitted on the same training rows as the network.

``majority`` always says the label most frequent in training: the floor. ``tfidf_logistic_regression`` weighs
words, pairs of words and runs of punctuation: what a good afternoon without a network gives, and hard to beat
with a few thousand rows. Its regularisation is chosen on the validation rows.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

MAJORITY, LOGISTIC = "majority", "tfidf_logistic_regression"
_STRENGTHS = (1.0, 3.0, 10.0, 30.0)  # inverse regularisation of the logistic regression to choose from
_WORDS = r"(?u)\w+|[^\w\s]+"  # a smiley or an exclamation mark says much
_MANY = 1000  # from so many texts on, words and pairs seen once are left out: a quarter of the work, no worse


@dataclass(frozen=True)
class LabelledTexts:
    """Labelled texts of one split."""

    ids: tuple[str, ...]
    texts: tuple[str, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Answers:
    """What one model says: a label of each test text, and its probability where the model has any."""

    predicted: Places  # (N,) numbers of labels
    confidence: Floats | None = None  # (N,)
    method: str = ""


def numbers(values: Sequence[str], labels: Sequence[str]) -> Places:
    """The place of each value among the labels."""
    place = {label: number for number, label in enumerate(labels)}
    return np.array([place[value] for value in values], dtype=np.int64)


def likeliest(probabilities: Floats, numbered: Places, method: str) -> Answers:
    """The likeliest label of each row; columns of `probabilities` are the labels `numbered`."""
    return Answers(numbered[probabilities.argmax(axis=1)], probabilities.max(axis=1), method)


def majority(train: LabelledTexts, labels: Sequence[str], texts: int) -> Answers:
    """Say the most frequent training label of every text; of equally frequent ones the first by name."""
    counts = Counter(train.labels)
    most = min(counts, key=lambda label: (-counts[label], label))
    number = list(labels).index(most)
    return Answers(np.full(texts, number), method=f"always {most!r}, the most frequent training label")


def logistic_regression(splits: Mapping[str, LabelledTexts], labels: Sequence[str]) -> Answers:
    """Fit on the training rows with each strength; the one that does best on the validation rows answers."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    rarest = 1 if len(splits["train"].texts) < _MANY else 2
    vectors = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=_WORDS, min_df=rarest)
    train = vectors.fit_transform(splits["train"].texts)
    validation, test = (vectors.transform(splits[name].texts) for name in ("validation", "test"))
    held_out = np.array(splits["validation"].labels)
    fitted = [
        LogisticRegression(C=strength, max_iter=1000).fit(train, splits["train"].labels)
        for strength in _STRENGTHS
    ]
    scores = [float((each.predict(validation) == held_out).mean()) for each in fitted]
    best = int(np.argmax(scores))  # of equals the most regularised
    log.info("sentiment baseline: C %g, validation accuracy %.4f", _STRENGTHS[best], scores[best])
    chosen = fitted[best]
    method = f"TF-IDF of words and pairs, logistic regression, C {_STRENGTHS[best]:g} by validation"
    return likeliest(chosen.predict_proba(test), numbers(chosen.classes_.tolist(), labels), method)
