"""Pictures: drawn for every shape of data, and from the right points."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tasks.reporting.pictures import Bar, curve, quality_bars, smoothed, training_curve
from tests.tasks.reporting.tiny_run import curve_rows

PNG = b"\x89PNG"
BARS = [
    Bar("our model", 2.0, 1.9, 2.2),
    Bar("Kneser-Ney 5-gram", 2.1, 2.0, 2.3),
    Bar("unigram", 4.0, None, None),
]


def test_a_curve_leaves_out_what_was_not_measured() -> None:
    rows = curve_rows(30)
    assert curve(rows, "validation_bits_per_byte")[:, 0].tolist() == [1600, 3200, 4800]
    without_tokens = [row | {"tokens": None} for row in rows]
    assert curve(without_tokens, "loss")[:3, 0].tolist() == [1, 2, 3]
    assert curve(rows, "not_a_column").shape == (0, 2)


def test_smoothing_keeps_a_constant_and_the_length() -> None:
    assert np.allclose(smoothed(np.full(500, 3.0)), 3.0)
    ramp = np.arange(1000.0)
    assert np.allclose(smoothed(ramp)[20:-20], ramp[20:-20])


@pytest.mark.parametrize("steps", [1, 2, 40, 5000])
def test_curves_of_any_length_are_drawn(tmp_path: Path, steps: int) -> None:
    training_curve(tmp_path / "a.png", curve_rows(steps), 60)
    assert (tmp_path / "a.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize("domains", [0, 1, 3])
def test_bars_with_and_without_intervals_and_domains(tmp_path: Path, domains: int) -> None:
    by_domain = {f"domain {n} $x_ \u202e": BARS for n in range(domains)}
    quality_bars(tmp_path / "a.png", BARS, by_domain, "bits per byte", 60)
    assert (tmp_path / "a.png").read_bytes().startswith(PNG)


def test_whiskers_never_point_backwards() -> None:
    whiskers = Bar("x", 2.0, 2.1, 2.5).whiskers
    assert whiskers is not None and (whiskers >= 0).all()
    assert Bar("x", 2.0, None, None).whiskers is None
