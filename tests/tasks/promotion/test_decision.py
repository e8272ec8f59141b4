"""The rule: one failed gate refuses, all passed promote, and silence never does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.promotion.config import Bar, Margin, PromotionConfig
from tasks.promotion.decision import Question, decide
from tests.tasks.promotion.test_intervals import paired

CONFIG = PromotionConfig(bootstrap_samples=400)


def accuracy(own: float, other: float, n: int = 900, margin: float = 0.04, seed: int = 0) -> Question:
    """Answers of two models that err independently of each other."""
    draw = np.random.default_rng(seed)
    found = paired(draw.random(n) < own, draw.random(n) < other)
    return Question("sentiment.accuracy", "champion", -margin, False, found)


def bits(
    difference: float, margin: float = 0.01, noise: float = 0.02, n: int = 200, seed: int = 0
) -> Question:
    draw = np.random.default_rng(seed)
    sizes = draw.integers(200, 5000, n)
    hard = draw.normal(2.0, 0.4, n)
    own = sizes * (hard + difference + draw.normal(0, noise, n))
    found = paired(own, sizes * hard, sizes)
    return Question("language_modelling.bits_per_byte", "champion", -margin, True, found)


def test_a_model_as_good_as_the_champion_is_promoted() -> None:
    decision = decide([bits(0.0), accuracy(0.9, 0.9)], CONFIG)
    assert decision.verdict == "promote"
    assert [reason.verdict for reason in decision.reasons] == ["pass", "pass"]


def test_one_gate_that_fails_refuses_whatever_the_others_say() -> None:
    decision = decide([bits(-0.5), accuracy(0.2, 0.6)], CONFIG)
    assert decision.verdict == "refuse"
    [failed] = [reason for reason in decision.reasons if reason.verdict == "fail"]
    assert failed.gate == "sentiment.accuracy" and failed.high is not None and failed.high < -0.04
    assert "worse by more than the margin of 0.04" in failed.sentence


def test_lower_is_better_where_it_says_so() -> None:
    assert decide([bits(0.2)], CONFIG).verdict == "refuse"
    assert decide([bits(-0.2)], CONFIG).verdict == "promote"


def test_an_unsure_gate_leaves_it_to_a_person() -> None:
    assert decide([bits(0.0), accuracy(0.6, 0.6, n=60)], CONFIG).verdict == "inconclusive"
    assert decide([bits(0.01)], CONFIG).verdict == "inconclusive"


def test_a_gate_without_a_comparison_is_no_silent_pass() -> None:
    nothing = Question("translation.chrf", "champion", -2.0, False, None, "the challenger was not measured")
    decision = decide([bits(0.0), nothing], CONFIG)
    assert decision.verdict == "inconclusive"
    assert "was not measured" in decision.reasons[1].sentence
    assert decide([], CONFIG).verdict == "inconclusive"


def test_too_few_cases_are_inconclusive_however_clear_they_look() -> None:
    assert decide([bits(-1.0, n=9)], CONFIG).verdict == "inconclusive"
    assert decide([bits(-1.0, n=10)], CONFIG).verdict == "promote"


def test_a_bar_asks_for_more_than_equality() -> None:
    def bar(own: float, by: float = 0.0) -> str:
        found = accuracy(own, 0.5, n=2000).paired
        return decide([Question("sentiment.accuracy", "majority", by, False, found)], CONFIG).verdict

    assert bar(0.7) == "promote"
    assert bar(0.5) == "inconclusive"
    assert bar(0.3) == "refuse"
    assert bar(0.7, by=0.3) == "refuse"


def test_a_model_at_the_margin_passes_no_more_often_than_promised() -> None:
    times = 300
    passed = [decide([accuracy(0.66, 0.70, seed=s)], CONFIG).verdict == "promote" for s in range(times)]
    assert sum(passed) / times < 0.055
    passed = [decide([bits(0.01, n=40, seed=s)], CONFIG).verdict == "promote" for s in range(times)]
    assert sum(passed) / times < 0.055


def test_a_model_that_equals_the_champion_is_all_but_never_refused() -> None:
    times = 300
    verdicts = [decide([bits(0.0, noise=0.05, n=60, seed=s)], CONFIG).verdict for s in range(times)]
    assert verdicts.count("refuse") / times < 0.01
    verdicts = [decide([accuracy(0.7, 0.7, n=200, seed=s)], CONFIG).verdict for s in range(times)]
    assert verdicts.count("refuse") / times < 0.01


@settings(max_examples=40, deadline=None)
@given(
    st.floats(0.2, 0.9), st.floats(0.2, 0.9), st.integers(20, 400), st.floats(0.001, 0.3), st.integers(0, 99)
)
def test_a_wider_margin_never_turns_a_pass_into_less(
    own: float, other: float, n: int, margin: float, seed: int
) -> None:
    order = ["fail", "inconclusive", "pass"]
    narrow, wide = (
        decide([accuracy(own, other, n, m, seed)], CONFIG).reasons[0].verdict for m in (margin, margin * 2)
    )
    assert order.index(wide) >= order.index(narrow)


@pytest.mark.parametrize(
    "changes",
    [
        {"margins": (Margin(suite="a", metric="b", margin=1), Margin(suite="a", metric="b", margin=2))},
        {"bars": (Bar(suite="a", metric="b", baseline="c"),) * 2},
        {"margins": ()},
        {"registered_model": "../x"},
        {"confidence": 1.0},
        {"unknown": 1},
    ],
)
def test_nonsense_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        PromotionConfig(**changes)  # type: ignore[arg-type]
