"""The page marks the jump, tells its documents, and lets no document write markup."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tasks.loss_page import PAGE, WINDOW, pages, robust_z
from tests.tasks.test_tracing import made


def test_a_jump_stands_out_and_a_trend_does_not() -> None:
    generator = np.random.default_rng(0)
    losses = np.linspace(5.0, 4.5, 600) + generator.normal(0.0, 0.05, 600)
    losses[400] += 1.0
    z = robust_z(losses)
    assert z.argmax() == 400 and z[400] > 6 and np.delete(z, 400).max() < 6
    before = losses[400 - WINDOW : 400]
    deviation = 1.4826 * np.median(np.abs(before - np.median(before)))
    assert z[400] == (losses[400] - np.median(before)) / deviation
    assert not robust_z(np.full(50, 2.0)).any()


def test_the_page_marks_the_jump_and_escapes_its_documents(tmp_path: Path) -> None:
    artifacts = made(tmp_path)
    html = pages(artifacts["pretraining"], artifacts, "m-pretraining")[PAGE]
    assert "Step 30: loss 9.0000" in html and "unveil trace --run m-pretraining --step 30" in html
    assert html.index("Step 30:") == html.index("Step ")  # the largest first
    assert "<script" not in html and "\x1b" not in html and "http://" not in html and "https://" not in html
    assert "1 of the marked steps lie" in html
    assert html == pages(artifacts["pretraining"], artifacts, "m-pretraining")[PAGE]
