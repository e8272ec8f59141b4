"""Scores of the classifier: right sums, honest baselines, intervals that hold, the same on every rerun."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score

from tasks.artifacts import Artifact, Store
from tasks.errors import ArtifactError, DataError
from tasks.evaluation.calibration import calibrated_errors, calibration_error
from tasks.evaluation.findings import Findings
from tasks.evaluation.records import Record
from tasks.evaluation.sentiment_baselines import LabelledTexts, logistic_regression, majority
from tasks.evaluation.sentiment_scores import examine_sentiment
from tests.tasks.finetuning import tiny

BASELINES = ("majority", "tfidf_logistic_regression")


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    home = tmp_path_factory.mktemp("home")
    found = tiny.inputs(home)
    return {**found, "model": tiny.finetuned(Store(home), found, steps=120)}


@pytest.fixture(scope="module")
def found(given: dict[str, Artifact]) -> Findings:
    return examine_sentiment(given["model"], given["cleaning"], samples=400, seed=3)


def record(found: Findings, metric: str, model: str = "model", baseline: str = "") -> Record:
    (only,) = [
        each
        for each in found.records
        if (each.metric, each.model, each.baseline) == (metric, model, baseline)
    ]
    return only


def correct(found: Findings, model: str) -> dict[str, float]:
    return {item.id: item.value for item in found.items if item.model == model}


def test_scores_are_those_of_the_items(found: Findings) -> None:
    ids = [row["id"] for row in tiny.labelled() if row["split"] == "test"]
    for model in ("model", *BASELINES):
        values = correct(found, model)
        assert list(values) == ids
        accuracy = record(found, "accuracy", model)
        assert accuracy.value == pytest.approx(np.mean(list(values.values())))
        assert accuracy.n == 30
        assert accuracy.low is not None
        assert accuracy.high is not None
        assert 0 <= accuracy.low <= accuracy.value <= accuracy.high <= 1
        assert accuracy.low < accuracy.high
    assert {(item.task, item.metric, item.cluster == item.id) for item in found.items} == {
        ("sentiment", "correct", True)
    }
    assert record(found, "accuracy").value > record(found, "accuracy", "majority").value


def test_differences_are_paired(found: Findings) -> None:
    for metric in ("accuracy", "macro_f1"):
        own = record(found, metric)
        for baseline in BASELINES:
            difference = record(found, f"{metric}_difference", "model", baseline)
            assert difference.value == pytest.approx(own.value - record(found, metric, baseline).value)
            assert difference.low is not None
            assert difference.high is not None
            assert difference.low <= difference.value <= difference.high


def test_the_shown_confusion_gives_the_same_scores(found: Findings) -> None:
    counts = np.array(found.shown["confusion"])
    gold, said = (np.repeat(axis.ravel(), counts.ravel()) for axis in np.indices(counts.shape))
    assert counts.sum() == 30
    assert record(found, "accuracy").value == pytest.approx(np.trace(counts) / 30)
    assert record(found, "macro_f1").value == pytest.approx(f1_score(gold, said, average="macro"))


def test_a_dozen_texts_are_shown_with_what_was_said(found: Findings) -> None:
    shown = found.shown["predictions"]
    rows = {row["id"]: row for row in tiny.labelled()}
    assert len(shown) == 12
    for each in shown:
        assert (each["text"], each["gold"]) == (rows[each["id"]]["text"], rows[each["id"]]["label"])
        assert each["predicted"] in found.shown["labels"]
        assert 1 / 3 <= each["probability"] <= 1
        assert (each["predicted"] == each["gold"]) == bool(correct(found, "model")[each["id"]])
    json.dumps(found.shown)


def test_a_rerun_gives_the_same(given: dict[str, Artifact], found: Findings) -> None:
    again = examine_sentiment(given["model"], given["cleaning"], samples=400, seed=3)
    assert again == found


def test_baselines_never_learn_from_test_rows(
    tmp_path: Path, given: dict[str, Artifact], found: Findings
) -> None:
    """With every test label turned into another, whoever had looked would answer differently."""
    turn = {"bad": "good", "good": "so-so", "so-so": "bad"}
    rows = [
        row | ({"label": turn[row["label"]]} if row["split"] == "test" else {}) for row in tiny.labelled()
    ]
    other = examine_sentiment(given["model"], tiny.clean(Store(tmp_path), rows), samples=100, seed=3)
    for model in ("model", *BASELINES):
        both = [
            one and two
            for one, two in zip(correct(found, model).values(), correct(other, model).values(), strict=True)
        ]
        assert not any(both)
    assert record(other, "accuracy", "tfidf_logistic_regression").value < 0.2


def test_a_test_label_that_training_never_saw_is_wrong_for_all(
    tmp_path: Path, given: dict[str, Artifact]
) -> None:
    def rename(row: dict[str, Any]) -> dict[str, Any]:
        return row | ({"label": "a new one"} if row["id"] == "test-0" else {})

    cleaning = tiny.clean(Store(tmp_path), [rename(row) for row in tiny.labelled()])
    found = examine_sentiment(given["model"], cleaning, samples=100, seed=0)
    assert found.shown["labels"] == ["a new one", "bad", "good", "so-so"]
    assert [correct(found, model)["test-0"] for model in ("model", *BASELINES)] == [0.0, 0.0, 0.0]


def test_one_test_text_still_has_an_answer(tmp_path: Path, given: dict[str, Artifact]) -> None:
    rows = [row for row in tiny.labelled() if row["split"] != "test" or row["id"] == "test-4"]
    found = examine_sentiment(given["model"], tiny.clean(Store(tmp_path), rows), samples=100, seed=0)
    assert record(found, "accuracy").n == 1
    assert len(found.shown["predictions"]) == 1


def test_what_cannot_be_examined_is_named(tmp_path: Path, given: dict[str, Artifact]) -> None:
    with pytest.raises(ArtifactError, match=r"head\.json does not describe a head"):
        examine_sentiment(given["pretraining"], given["cleaning"], samples=100, seed=0)
    rows = [row for row in tiny.labelled() if row["split"] != "test"]
    with pytest.raises(DataError, match="the test split has no row"):
        examine_sentiment(given["model"], tiny.clean(Store(tmp_path), rows), samples=100, seed=0)


def test_the_logistic_regression_reads_words_and_smileys() -> None:
    def texts(split: str, count: int) -> LabelledTexts:
        pairs = [(f"{split} {n} {':)' if n % 2 else ':('}", "glad" if n % 2 else "sad") for n in range(count)]
        return LabelledTexts(tuple(str(n) for n in range(count)), *zip(*pairs, strict=True))

    splits = {"train": texts("train", 40), "validation": texts("validation", 10), "test": texts("test", 20)}
    answers = logistic_regression(splits, ("glad", "sad"))
    assert answers.predicted.tolist() == [1, 0] * 10
    assert answers.confidence is not None
    assert (answers.confidence > 0.5).all()


def test_the_majority_is_that_of_training_and_of_equals_the_first() -> None:
    train = LabelledTexts(("1", "2", "3"), ("x", "y", "z"), ("b", "a", "b"))
    assert majority(train, ("a", "b"), 3).predicted.tolist() == [1, 1, 1]
    even = LabelledTexts(("1", "2"), ("x", "y"), ("b", "a"))
    assert majority(even, ("a", "b"), 2).predicted.tolist() == [0, 0]


def test_the_calibration_error_is_judged_by_what_chance_gives() -> None:
    generator = np.random.default_rng(0)
    confidence = generator.uniform(0.4, 1.0, size=1000)
    null = calibrated_errors(confidence, 300, seed=1)
    calibrated = calibration_error(confidence, generator.random(1000) < confidence)
    overconfident = calibration_error(confidence, generator.random(1000) < confidence - 0.2)
    assert 0.01 < null.mean() < 0.05
    assert calibrated < np.quantile(null, 0.999)
    assert overconfident == pytest.approx(0.2, abs=0.05)
    assert overconfident > null.max()
    assert calibration_error(np.ones(4), np.array([True, True, False, True])) == pytest.approx(0.25)
