"""What a plan concludes: whether it fits, what to do when it does not, which cap will be reached."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.budget import BudgetConfig
from models.finetuning_config import FineTuningConfig
from models.room import Room
from tasks.planning import Planned, plan
from tests.models.tiny_training import TINY, tiny_config

HEADS = {"sentiment": FineTuningConfig(steps=4, batch_size=4, max_tokens=16, threads=1)}


@pytest.mark.slow
def test_a_plan_says_where_each_number_is_from_and_what_does_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = Planned(TINY, tiny_config(steps=10_000), HEADS, BudgetConfig(flops=1e9, price_per_hour=2.0))
    found = plan(wanted, tmp_path, beside=5 << 20, notes=("a note",))
    pretraining, sentiment = found.trainings
    assert (pretraining.name, sentiment.name) == ("pretraining", "finetuning-sentiment")
    assert pretraining.fits and pretraining.proposed_micro_batches is None
    assert pretraining.total_memory == sum(pretraining.memory.values())
    assert pretraining.tokens == 10_000 * 4 * 16 and pretraining.beyond == "flops"
    assert sentiment.tokens == 4 * 4 * 16 and sentiment.beyond is None
    assert pretraining.cost > pretraining.seconds / 3600 * 2.0 > 0
    numbers = {"parameters", "tokens", "flops", "memory", "seconds", "kilowatt_hours", "cost"}
    assert all(set(training.how) == numbers for training in found.trainings)
    assert found.notes == ("a note",) and found.as_dict()["available"] == found.available

    monkeypatch.setattr(
        "models.room.available", lambda _device: Room(pretraining.total_memory // 2, "a test")
    )
    small = plan(Planned(TINY, tiny_config(), {}, BudgetConfig()), tmp_path / "small", beside=0)
    assert not small.trainings[0].fits and small.available_by == "a test"
