"""How trials become a forecast; and one real forecast of a training that is then done."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from models.budget import BudgetConfig
from models.calibration import Trial
from models.forecast import _between_steps, _line, _whole_step, forecast_pretraining
from models.memory import Need
from models.training_config import TrainingConfig
from models.trials import Trials
from tests.models.tiny_training import TINY, run, tiny_config, write_shards


def trial(rows: int, parts: int, seconds: float, peak: int = 0, joules: float | None = None) -> Trial:
    return Trial(rows, parts, seconds, 2 * seconds, joules, 1.5, 1_000, 0.25, peak)


def need(rows: int) -> Need:
    return Need(100 << 20, 0, 0, (50 << 20) * rows)


def peak(rows: int, megabytes: int) -> Trial:
    return trial(rows, 1, 1.0, peak=megabytes << 20)


def test_a_step_is_put_together_from_its_micro_batches_and_one_update() -> None:
    """The update takes 1 s and a row 0.5 s: 4 micro-batches of 8 rows take 17 s."""
    one, two, fewer = trial(4, 1, 3.0, joules=30.0), trial(4, 2, 5.0, joules=50.0), trial(2, 1, 2.0)
    assert _whole_step(Trials(one, two), rows=8, micro_batches=4) == pytest.approx((17.0, 34.0, 170.0))
    assert _whole_step(Trials(one, fewer=fewer), rows=8, micro_batches=1)[0] == 5.0
    hasty = trial(2, 1, 2.9)  # a busy machine: 4 rows are not told to be as quick as two
    assert _whole_step(Trials(one, fewer=hasty), rows=8, micro_batches=1)[0] == 3.0 + 4 * 3.0 / 16
    assert _whole_step(Trials(trial(4, 1, 3.0)), rows=4, micro_batches=1) == (3.0, 6.0, None)


def test_memory_lies_on_the_line_through_the_trials() -> None:
    found = Trials(peak(8, 1_625), fewer=peak(2, 1_250))  # of 500 and 200 MB of tensors
    assert _line(found, need, 16) == (1_000 << 20, 1.25)
    assert _line(Trials(peak(8, 1_900), fewer=peak(2, 1_000)), need, 16)[1] == 1.4
    assert _line(Trials(peak(8, 1_900), fewer=peak(7, 1_000)), need, 16)[1] == 1.2  # too near to tell
    assert _line(Trials(peak(1, 1_000)), need, 16)[1] == 1.2  # nothing to compare with


def test_the_memory_of_what_was_tried_whole_is_what_was_held() -> None:
    assert _line(Trials(peak(8, 1_625)), need, 8) == (1_125 << 20, 1.0)
    several = Trials(
        peak(8, 9_999), peak(8, 1_625)
    )  # the trial of one came after that of two, in its process
    assert _line(several, need, 8) == (1_125 << 20, 1.0)


def test_what_comes_between_steps_is_counted_as_often_as_it_comes() -> None:
    training = TrainingConfig(steps=25, validate_every=10, checkpoint_every=25, validation_tokens=3_000)
    assert _between_steps(training, trial(1, 1, 1.0)) == 3 * 1.5 * 3 + 0.25


@pytest.mark.slow
def test_a_forecast_comes_near_the_training(tmp_path: Path) -> None:
    """Near, because a shared machine keeps no time; `benchmarks.budgets` measures how near."""
    config = tiny_config(gradient_accumulation=2, steps=40)
    told = forecast_pretraining(TINY, config, budget=BudgetConfig(), folder=tmp_path / "tried", room=1 << 32)
    assert told.tokens == 40 * 4 * 16 and told.parameters == TINY.parameter_count()
    assert told.micro_batches == 2 and told.seconds is not None and told.joules is not None
    shards = write_shards(tmp_path / "shards")
    started = time.perf_counter()
    run(shards, tmp_path / "run", steps=40, gradient_accumulation=2)
    assert 0.1 < told.seconds / (time.perf_counter() - started) < 10
    program = "import json, sys\nfrom models.calibration import _peak_memory\nimport models.trainer\n"
    program += "sys.stdout.write(json.dumps(_peak_memory()))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(loaded.stdout) * 0.9 < told.memory < 3 << 30
