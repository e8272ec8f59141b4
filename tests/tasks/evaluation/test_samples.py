"""Measures of repetition, by hand."""

from __future__ import annotations

import pytest

from tasks.evaluation.samples import distinct, repetition


def test_distinct_counts_different_neighbours() -> None:
    assert distinct([1, 2, 1, 2, 1], 2) == pytest.approx(2 / 4)  # 12 21 12 21
    assert distinct([1, 2, 3], 2) == 1.0


def test_repetition_is_what_stood_before() -> None:
    assert repetition([7] * 10, 4) == pytest.approx(6 / 7)  # seven 4-grams, one kind
    assert repetition(list(range(10)), 4) == 0.0


@pytest.mark.parametrize("tokens", [[], [1], [1, 2, 3]])
def test_a_text_shorter_than_the_measure_has_no_value(tokens: list[int]) -> None:
    assert repetition(tokens, 4) is None
