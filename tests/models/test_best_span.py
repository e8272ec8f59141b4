"""The choice of a span, against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.best_span import Reading, best_span


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**31))
def test_the_best_span_is_that_of_brute_force(tokens: int, longest: int, seed: int) -> None:
    first, last = np.random.default_rng(seed).normal(0, 2, (2, tokens))
    spans = [(i, j) for i in range(tokens) for j in range(i, min(tokens, i + longest))]
    odds = {span: np.exp((first[span[0]] + last[span[1]]) / 0.7) for span in spans}
    total = sum(odds.values())

    def expected(i: int, j: int) -> float:
        shared = {(a, b): max(0, min(b, j) - max(a, i) + 1) for a, b in spans}
        return sum(odds[s] * 2 * shared[s] / (j - i + 1 + s[1] - s[0] + 1) for s in spans) / (1 + total)

    found = best_span(Reading(first, last), longest, 0.7)
    assert found is not None and (found.first, found.last) in odds
    assert found.expected_f1 == pytest.approx(max(expected(*span) for span in spans))
    assert found.expected_f1 == pytest.approx(expected(found.first, found.last))
    assert found.no_answer == pytest.approx(1 / (1 + total))


def test_extreme_scores_leave_numbers_finite() -> None:
    for size in (-1e30, 1e30):
        found = best_span(Reading(np.array([size, 0.0]), np.array([0.0, size])), 2, 0.7)
        assert found is not None and 0.0 <= found.expected_f1 <= 1.0 and 0.0 <= found.no_answer <= 1.0
