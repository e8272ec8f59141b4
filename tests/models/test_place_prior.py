"""The prior over places of a context: what it must say of answers whose places we choose."""

from __future__ import annotations

import numpy as np
import pytest

from models.place_prior import fit_place_prior, place_log_odds


def test_answers_anywhere_say_nothing() -> None:
    starts = list(range(64)) * 50
    prior = fit_place_prior(starts, [64] * len(starts))
    assert prior == pytest.approx([0.0] * 7, abs=1e-9)


def test_answers_at_the_beginning_make_the_beginning_likelier() -> None:
    odds = place_log_odds(fit_place_prior([0] * 200, [100] * 200), 100)
    assert odds[0] > 3 > 0 > odds[1:].max()
    assert 0.5 < np.exp(odds).mean() <= 1.0  # a prior moves odds about, and adds none


def test_few_answers_say_little() -> None:
    few, many = (place_log_odds(fit_place_prior([0] * n, [100] * n), 1)[0] for n in (1, 1000))
    assert 0 < few < 1 < many


def test_places_are_counted_in_octaves_and_the_last_one_goes_on() -> None:
    odds = place_log_odds((1.0, 2.0, 3.0), 9)
    assert odds.tolist() == [1.0, 2.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0]
    assert place_log_odds((), 3).tolist() == [0.0, 0.0, 0.0]
    assert place_log_odds((1.0,), 0).shape == (0,)


def test_without_answers_there_is_no_opinion() -> None:
    assert fit_place_prior([], []) == pytest.approx([0.0])
