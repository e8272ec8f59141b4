"""Intervals of paired differences cover what they promise, also on few items."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.promotion.intervals import Paired, difference_interval


def paired(
    challenger: np.ndarray, reference: np.ndarray, sizes: np.ndarray | None = None, per_cluster: int = 1
) -> Paired:
    n = len(challenger)
    return Paired(
        challenger=challenger.astype(np.float64),
        reference=reference.astype(np.float64),
        sizes=np.ones(n) if sizes is None else sizes.astype(np.float64),
        clusters=tuple(f"c{place // per_cluster}" for place in range(n)),
    )


def test_two_models_that_agree_on_a_few_answers_are_not_known_to_be_equal() -> None:
    right = np.ones(5)
    low, high = difference_interval(paired(right, right), 0.95, 1000, 0)
    assert low < -0.3 and high > 0.3
    low, high = difference_interval(paired(np.ones(2000), np.ones(2000)), 0.95, 1000, 0)
    assert -0.003 < low < 0 < high < 0.003


def test_bonett_and_price_by_hand() -> None:
    challenger = np.array([1] * 30 + [0] * 10 + [1] * 60)
    reference = np.array([0] * 30 + [1] * 10 + [1] * 60)
    won, lost = 31 / 102, 11 / 102
    reach = 1.959963984540054 * np.sqrt((won + lost - (won - lost) ** 2) / 102)
    found = difference_interval(paired(challenger, reference), 0.95, 1000, 0)
    assert found == pytest.approx((won - lost - reach, won - lost + reach))


def test_items_of_one_cluster_count_as_one() -> None:
    draw = np.random.default_rng(0)
    each = draw.normal(0, 1, 40)
    spread = np.repeat(each, 25)
    alone = difference_interval(paired(spread, np.zeros(1000)), 0.95, 2000, 0)
    together = difference_interval(paired(spread, np.zeros(1000), per_cluster=25), 0.95, 2000, 0)
    assert (together.high - together.low) > 4 * (alone.high - alone.low)


def test_the_value_is_a_ratio_of_sums_and_lies_in_its_interval() -> None:
    draw = np.random.default_rng(1)
    sizes = draw.integers(10, 1000, 60)
    reference = sizes * 2.0 + draw.normal(0, 5, 60)
    challenger = reference - 0.1 * sizes
    found = paired(challenger, reference, sizes)
    own, other = found.values()
    assert own - other == pytest.approx(-0.1)
    low, high = difference_interval(found, 0.95, 1000, 0)
    assert low <= -0.1 + 1e-9 and high >= -0.1 - 1e-9


@pytest.mark.parametrize(("n", "kind"), [(12, "continuous"), (60, "continuous"), (40, "binary")])
def test_the_interval_misses_the_truth_about_as_often_as_it_says(n: int, kind: str) -> None:
    draw, missed, times = np.random.default_rng(7), 0, 400
    for _ in range(times):
        if kind == "binary":
            both = draw.random(n) < 0.6
            swap = draw.random((2, n)) < 0.15
            found = paired(both ^ swap[0], both ^ swap[1])
        else:
            sizes = draw.integers(200, 2000, n)
            hard = draw.normal(2.0, 0.4, n)
            own, other = (sizes * (hard + draw.normal(0, 0.05, n)) for _ in range(2))
            found = paired(own, other, sizes)
        low, high = difference_interval(found, 0.95, 400, 0)
        missed += not low <= 0.0 <= high
    assert 0.01 < missed / times < 0.09


def test_equal_seeds_equal_intervals() -> None:
    draw = np.random.default_rng(2)
    one = paired(draw.random(50), draw.random(50), per_cluster=2)
    assert difference_interval(one, 0.95, 500, 3) == difference_interval(one, 0.95, 500, 3)
