"""Numbers by hand: ratios, paired differences, domains, and one document alone."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tasks.evaluation.comparison import BITS_PER_BYTE, MASKED_LOSS, Scores, compare
from tasks.evaluation.records import ALL_DOMAINS, Record

LN2 = math.log(2)


def scores(metric: str = BITS_PER_BYTE, documents: int = 3) -> Scores:
    return Scores(
        metric=metric,
        ids=("a", "b", "c")[:documents],
        domains=np.array(["books", "social", "books"][:documents]),
        nats={
            "model": np.array([20.0, 6.0, 40.0])[:documents] * LN2,
            "unigram": np.array([30.0, 5.0, 70.0])[:documents] * LN2,
        },
        predictions=np.array([4, 2, 6])[:documents],
        bytes=np.array([10, 2, 30])[:documents],
        method="by hand",
    )


def find(records: list[Record], metric: str, domain: str = ALL_DOMAINS, model: str = "model") -> Record:
    [record] = [r for r in records if (r.metric, r.domain, r.model) == (metric, domain, model)]
    return record


def test_ratios_and_the_paired_difference_are_those_computed_by_hand() -> None:
    records = list(compare(scores(), 200, 0))
    assert find(records, BITS_PER_BYTE).value == pytest.approx(66 / 42)
    assert find(records, BITS_PER_BYTE, model="unigram").value == pytest.approx(105 / 42)
    difference = find(records, "bits_per_byte_difference")
    assert difference.value == pytest.approx((66 - 105) / 42)
    assert difference.baseline == "unigram" and difference.n == 3
    assert difference.low is not None and difference.high is not None
    assert difference.low <= difference.value <= difference.high


def test_a_paired_interval_is_that_of_differences_on_common_draws() -> None:
    [difference] = [r for r in compare(scores(), 300, 9) if r.metric.endswith("difference") and r.n == 3]
    drawn = np.random.default_rng(9).integers(3, size=(300, 3))
    gap, size = np.array([-10.0, 1.0, -30.0])[drawn].sum(1), np.array([10, 2, 30])[drawn].sum(1)
    low, high = np.quantile(gap / size, [0.025, 0.975])
    assert difference.low == pytest.approx(low) and difference.high == pytest.approx(high)


def test_every_domain_has_its_own_numbers() -> None:
    records = list(compare(scores(), 200, 0))
    assert find(records, BITS_PER_BYTE, "books").value == pytest.approx(60 / 40)
    assert find(records, BITS_PER_BYTE, "social").value == pytest.approx(3.0)
    assert find(records, "bits_per_byte_difference", "social").value == pytest.approx(0.5)


def test_one_document_has_no_interval_and_the_record_says_so() -> None:
    for record in compare(scores(documents=1), 200, 0):
        assert record.low is None and record.high is None and record.n == 1
        assert "one document" in record.method


def test_the_loss_at_hidden_words_is_in_nats_per_prediction() -> None:
    records = list(compare(scores(MASKED_LOSS), 200, 0))
    assert find(records, MASKED_LOSS).value == pytest.approx(66 * LN2 / 12)
    assert find(records, MASKED_LOSS).unit == "nats per hidden word"
