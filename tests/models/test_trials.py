"""Which steps are tried, in which process, and what is measured of them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from models import calibration
from models.calibration import FEWEST_STEPS, CalibrationError, Task, Trial, calibrate
from models.memory import Need
from models.trials import Trials, extent, perform_trials
from tests.models.tiny_training import TINY, tiny_config


def need(rows: int) -> Need:
    return Need(100 << 20, 0, 0, (50 << 20) * rows)


def test_a_whole_micro_batch_is_tried_if_there_is_time_for_five_steps() -> None:
    whole, cut = (40, FEWEST_STEPS), (20, FEWEST_STEPS)
    assert extent(40, 200.0, need, 1 << 40, several=False) == whole
    assert extent(40, 100.0, need, 1 << 40, several=False) == cut
    assert extent(40, 600.0, need, 1 << 40, several=True) == whole  # one of them, and two
    assert extent(40, 400.0, need, 1 << 40, several=False) == (40, 10)  # more steps steady the mean
    assert extent(40, 1e9, need, 1 << 40, several=False) == (40, 24)
    assert extent(40, 0.0, need, 1 << 40, several=False) == (2, FEWEST_STEPS)
    assert extent(1, 0.0, need, 1 << 40, several=False) == (1, FEWEST_STEPS)
    gigabyte = extent(40, 1e9, need, 1 << 30, several=False)
    assert need(gigabyte.rows).total <= 0.7 * (1 << 30) < need(2 * gigabyte.rows).total


class Pretence:
    """Stands in for the trials: each row takes `row` seconds. Remembers what was asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, row: float) -> None:
        self.asked: list[tuple[tuple[int, int], ...]] = []
        self._row = row
        monkeypatch.setattr("models.trials.calibrate", self._calibrate)

    def _calibrate(self, task: Task, folder: Path) -> tuple[Trial, ...]:
        assert task.steps in (5, 6)
        self.asked.append(task.sizes)
        return tuple(self.trial(*size) for size in task.sizes)

    def trial(self, rows: int, parts: int) -> Trial:
        return Trial(rows, parts, self._row * rows, 2.0, None, 1.5, 1_000, 0.25, 0)

    def __call__(self, rows: int, *, several: bool) -> Trials:
        task = Task(model=TINY, training=tiny_config())
        return perform_trials(
            task,
            rows,
            Path("nowhere"),
            seconds=40.0,
            row_seconds=1.0,  # 5 steps of 8 rows, as far as it is known
            need=need,
            room=1 << 40,
            several=several,
        )


def test_what_can_be_tried_whole_is_tried_once_and_the_largest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    pretence = Pretence(monkeypatch, row=1.0)
    assert pretence(8, several=False) == (pretence.trial(8, 1), None, None)
    assert pretence(2, several=True) == (pretence.trial(2, 1), pretence.trial(2, 2), None)
    assert pretence.asked == [((8, 1),), ((2, 2), (2, 1))]


def test_beside_what_cannot_be_tried_whole_stands_half_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pretence = Pretence(monkeypatch, row=1.0)
    assert pretence(16, several=False) == (pretence.trial(8, 1), None, pretence.trial(4, 1))
    assert pretence(16, several=True) == (pretence.trial(2, 1), pretence.trial(2, 2), pretence.trial(1, 2))
    assert pretence.asked == [((8, 1),), ((4, 1),), ((2, 2), (2, 1)), ((1, 2),)]


def test_a_machine_that_is_faster_than_thought_tries_more(monkeypatch: pytest.MonkeyPatch) -> None:
    pretence = Pretence(monkeypatch, row=0.5)
    assert pretence(16, several=False) == (pretence.trial(16, 1), None, pretence.trial(8, 1))
    assert pretence(64, several=True) == (pretence.trial(5, 1), pretence.trial(5, 2), pretence.trial(2, 2))
    assert pretence.asked == [((8, 1),), ((16, 1),), ((2, 2), (2, 1)), ((5, 2), (5, 1))]


def test_a_trial_that_cannot_be_done_says_why(tmp_path: Path) -> None:
    (tmp_path / "warm").write_text("in the way")
    with pytest.raises(CalibrationError, match="FileExistsError"):
        calibrate(Task(model=TINY, training=tiny_config(), sizes=((1, 1),)), tmp_path)


def test_a_step_is_timed_without_loading_and_without_validation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first step loads, after the last but one comes the first validation, after the last a warm one."""

    def pretend(task: Task, *rest: Any) -> None:
        assert task.steps == 6
        *_, note = rest
        for number, seconds in enumerate((0.5, 0.02, 0.02, 0.02, 0.62, 0.32)):
            time.sleep(seconds)
            note(number, {})
        time.sleep(0.2)

    monkeypatch.setattr(calibration, "_pretrain", pretend)
    task = Task(model=TINY, training=tiny_config(), steps=6)
    found = calibration._trial(task, 4, 1, tmp_path / "tried")
    assert 0.02 <= found.seconds < 0.12
    assert 0.2 < found.validation_seconds < 0.45
    assert 0.2 <= found.checkpoint_seconds < 0.5


@pytest.mark.slow
def test_trials_are_made_in_the_order_asked_for(tmp_path: Path) -> None:
    both = calibrate(Task(model=TINY, training=tiny_config(), sizes=((2, 2), (4, 1))), tmp_path)
    assert [(each.rows, each.micro_batches) for each in both] == [(2, 2), (4, 1)]
    for each in both:
        assert each.seconds > 0 and each.cpu_seconds > 0 and each.peak > 100 << 20
        assert each.validated > 0 and each.checkpoint_seconds > 0
    assert both[0].peak <= both[1].peak
