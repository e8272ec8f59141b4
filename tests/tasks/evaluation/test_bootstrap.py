"""The interval of a ratio: right estimator, honest width, same draws for all."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.evaluation.bootstrap import interval, ratio_replicates
from tasks.evaluation.comparison import with_differences


def test_replicates_are_ratios_of_sums_over_the_drawn_documents() -> None:
    bits, sizes = np.array([[10.0, 1.0], [90.0, 2.0]]), np.array([10, 30])
    drawn = ratio_replicates(bits, sizes, 500, seed=1)
    # of two documents there are three drawings: twice the first, twice the second, one of each
    possible = {(1.0, 0.1), (3.0, 2 / 30), (2.5, 0.075)}
    assert {tuple(row) for row in drawn.round(9).tolist()} == {tuple(np.round(p, 9)) for p in possible}


def test_the_mean_of_ratios_would_be_wrong_and_is_not_what_is_taken() -> None:
    bits, sizes = np.array([[1.0], [900.0]]), np.array([1, 100])
    drawn = ratio_replicates(bits, sizes, 4000, seed=0)[:, 0]
    assert 901 / 101 in drawn.tolist()
    assert 5.0 not in drawn.tolist()  # (1 + 9) / 2


@pytest.mark.filterwarnings("error")
def test_a_drawing_without_a_case_says_nothing() -> None:
    drawn = ratio_replicates(np.array([[2.0], [0.0]]), np.array([4, 0]), 400, seed=0)[:, 0]
    assert 0 < np.isnan(drawn).sum() < 400
    assert interval(drawn) == (0.5, 0.5)


def test_chunks_do_not_change_the_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    bits, sizes = np.random.default_rng(0).random((40, 3)), np.arange(1, 41)
    whole = ratio_replicates(bits, sizes, 300, seed=3)
    monkeypatch.setattr("tasks.evaluation.bootstrap._CELLS", 90)
    assert np.array_equal(ratio_replicates(bits, sizes, 300, seed=3), whole)
    assert not np.array_equal(ratio_replicates(bits, sizes, 300, seed=4), whole)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    draw = np.random.default_rng(11)
    covered = 0
    for trial in range(200):
        sizes = draw.integers(50, 500, size=60)
        rates = draw.normal(2.0, 0.5, size=60)  # bits per byte of each document, independent of its size
        drawn = ratio_replicates((rates * sizes)[:, None], sizes, 300, seed=trial)
        low, high = interval(drawn[:, 0])
        covered += low <= 2.0 <= high
    assert 0.88 <= covered / 200 <= 0.99


def test_pairing_narrows_the_difference_of_models_that_find_the_same_documents_hard() -> None:
    draw = np.random.default_rng(2)
    sizes, hardness = draw.integers(100, 900, size=80), draw.normal(2.0, 0.7, size=80)
    bits = np.column_stack([hardness * sizes, (hardness + 0.1) * sizes])
    drawn = with_differences(ratio_replicates(bits, sizes, 500, seed=0))
    low, high = interval(drawn[:, 2])
    assert low == pytest.approx(-0.1) and high == pytest.approx(-0.1)
    assert np.diff(interval(drawn[:, 0])) > 0.1


def test_identical_models_differ_by_exactly_nothing() -> None:
    bits = np.random.default_rng(5).random((30, 1)).repeat(2, axis=1)
    drawn = with_differences(ratio_replicates(bits, np.arange(1, 31), 200, seed=0))
    assert interval(drawn[:, 2]) == (0.0, 0.0)
