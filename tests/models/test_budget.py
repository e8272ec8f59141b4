"""A cap ends a training at a step's border; raised, it goes on to the same weights; kills do not refill it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from models.budget import BudgetConfig, BudgetError, Spending
from models.checkpoint import latest_valid
from models.flops import pretraining_flops
from models.meter import METERED
from models.trainer import TrainingResult, train
from tests.models.tiny_training import IDENTITY, TINY, tiny_config, weights_digest, write_shards

STEP = pretraining_flops(TINY, tiny_config())


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("shards"))


def run(
    shards: Path, folder: Path, budget: BudgetConfig
) -> tuple[TrainingResult | None, list[dict[str, float]]]:
    seen: list[dict[str, float]] = []
    result = train(
        TINY,
        tiny_config(),
        shards,
        folder,
        on_metrics=lambda step, metrics: seen.append({"step": step, **metrics}),
        progress=False,
        identity=IDENTITY,
        budget=budget,
    )
    return result, seen


def test_a_raised_cap_resumes_to_the_weights_of_an_uncapped_run(shards: Path, tmp_path: Path) -> None:
    whole, seen = run(shards, tmp_path / "whole", BudgetConfig())
    capped = tmp_path / "capped"
    with pytest.raises(BudgetError, match=r"used up after step 7 of 20 \(35 %\)") as stopped:
        run(shards, capped, BudgetConfig(flops=6.5 * STEP))
    assert stopped.value.cap == "flops"
    saved = latest_valid(capped / "checkpoints")
    assert saved is not None and saved.name == "step-000000007"
    with pytest.raises(BudgetError, match="after step 7 of 20"):  # the same cap allows no step more
        run(shards, capped, BudgetConfig(flops=6.5 * STEP))
    finished, rest = run(shards, capped, BudgetConfig(flops=20 * STEP))
    assert whole is not None and finished is not None and finished.resumed_from == 7
    assert weights_digest(finished) == weights_digest(whole)
    assert finished.metrics == whole.metrics and not set(METERED) & finished.metrics.keys()
    assert [entry["loss"] for entry in rest] == [entry["loss"] for entry in seen[7:]]


def test_what_was_spent_before_a_kill_counts(shards: Path, tmp_path: Path) -> None:
    """Killed before its first checkpoint, again and again, a training must not get a new budget each time."""
    (tmp_path / "checkpoints").mkdir()
    Spending(seconds=590.0, flops=1.0, joules=36e5).write(tmp_path / "checkpoints")
    for cap, budget in (
        ("minutes", BudgetConfig(minutes=9.8)),
        ("kilowatt_hours", BudgetConfig(kilowatt_hours=1.0)),
        ("amount", BudgetConfig(amount=0.3, price_per_kilowatt_hour=0.25, price_per_hour=1.0)),
    ):
        with pytest.raises(BudgetError, match="after step 0 of 20") as stopped:
            run(shards, tmp_path, budget)
        assert stopped.value.cap == cap
    assert Spending.read(tmp_path / "checkpoints").seconds == 590.0


def test_the_meter_is_read_in_every_step(
    shards: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="models.monitor"):
        _, seen = run(shards, tmp_path, BudgetConfig(price_per_hour=3.6))
    assert all(set(METERED) <= step.keys() for step in seen)
    costs = [step["cost"] for step in seen]
    assert costs == sorted(costs) and costs[0] > 0
    assert seen[-1]["seconds_left"] == 0 < seen[0]["seconds_left"]
    assert all(0 < step["utilisation"] < 1.5 for step in seen)
    spent = Spending.read(tmp_path / "checkpoints")
    assert spent.flops == pytest.approx(20 * STEP)
    assert costs[-1] == pytest.approx(spent.seconds / 1000 + spent.kilowatt_hours * 0.3)
    assert len([line for line in caplog.messages if "GFLOP/s" in line and " left" in line]) == 10


def test_the_last_step_is_not_lost_to_the_budget(shards: Path, tmp_path: Path) -> None:
    result, _ = run(shards, tmp_path, BudgetConfig(flops=19.5 * STEP))
    assert result is not None and result.steps == 20


def test_spending_that_cannot_be_read_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / "spent.json").write_text('{"seconds": "much"}')
    assert Spending.read(tmp_path) == Spending()
    with pytest.raises(ValueError, match="extra"):
        BudgetConfig.model_validate({"hours": 1})
    with pytest.raises(ValueError, match="greater than 0"):
        BudgetConfig(minutes=0)
