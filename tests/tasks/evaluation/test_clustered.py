"""Means of texts that belong together, and what can be said of what never happened."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.evaluation.clustered import Mean, clustered_mean, difference


def test_nothing_in_a_hundred_may_still_be_three_in_a_hundred() -> None:
    assert clustered_mean([0] * 100, range(100), samples=100, seed=0) == Mean(0.0, 0.0, 0.03, 100)
    assert clustered_mean([1] * 60, range(60), samples=100, seed=0) == Mean(1.0, 0.95, 1.0, 60)
    assert clustered_mean([0, 0], [1, 2], samples=100, seed=0).high == 1.0


def test_a_share_is_never_surer_than_independent_draws_allow() -> None:
    mean = clustered_mean([1] + [0] * 99, range(100), samples=500, seed=0)
    assert mean.value == 0.01
    assert mean.low is not None and mean.low <= 0.0018
    assert mean.high == pytest.approx(0.0545, abs=1e-3)  # Wilson's; the bootstrap alone says 0.03


def test_texts_of_one_document_count_as_one() -> None:
    values = np.repeat(np.random.default_rng(0).random(20), 50)
    alone = clustered_mean(values, np.arange(1000), samples=500, seed=0)
    together = clustered_mean(values, np.repeat(np.arange(20), 50), samples=500, seed=0)
    assert alone.value == pytest.approx(together.value)
    assert together.high - together.low > 4 * (alone.high - alone.low)  # type: ignore[operator]


def test_sizes_weigh_and_one_cluster_has_no_interval() -> None:
    mean = clustered_mean([2, 6], ["a", "a"], sizes=[10, 10], samples=100, seed=0)
    assert mean == Mean(0.4, None, None, 2)
    with pytest.raises(ValueError, match="at least one"):
        clustered_mean([], [], samples=100, seed=0)


def test_a_difference_is_as_unsure_as_both() -> None:
    """Of Newcombe 1998, table II, method 10: 56/70 less 48/80 is 0.2, between 0.0524 and 0.3339."""
    from tasks.evaluation.proportions import wilson

    first, second = Mean(0.8, *wilson(0.8, 70), 70), Mean(0.6, *wilson(0.6, 80), 80)
    found = difference(first, second)
    assert found.value == pytest.approx(0.2)
    assert (found.low, found.high) == pytest.approx((0.0524, 0.3339), abs=1e-4)
    assert difference(first, Mean(0.1, None, None, 5)).low is None
