"""A step that would do harm is not taken: what is not finite ends training, a spike is passed over."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models import pretraining
from models.checkpoint import CheckpointError, checkpoint_path, load_state, load_weights
from models.guards import PATIENCE, SpikeGuard, ranks_at_fault
from tests.models.test_finetuning import run as finetune
from tests.models.tiny_training import run, weights_digest, write_shards

SPIKES = {14: 10.0, 18: 10.0}
OPTIONS: dict[str, Any] = {
    "spike_window": 8,
    "spike_sigma": 20.0,
    "checkpoint_every": 1,
    "validate_every": 1000,
}


class Interrupted(Exception):
    """What a test throws into a training."""


def filled(guard: SpikeGuard, steps: int) -> SpikeGuard:
    generator = np.random.default_rng(0)
    for step in range(1, steps + 1):
        assert guard.accepts(step, 4.0 + 0.1 * generator.standard_normal(), 1.0 + 0.1 * generator.random())
    return guard


@pytest.mark.parametrize(("loss", "norm"), [(40.0, 1.0), (4.0, 10.0), (5.0, 1.0)])
def test_a_spike_of_either_is_refused_counted_and_not_learned(
    loss: float, norm: float, caplog: pytest.LogCaptureFixture
) -> None:
    guard = filled(SpikeGuard(6.0, 128), 200)
    before = guard.state_dict()["accepted"]
    assert not guard.accepts(201, loss, norm)
    assert guard.skipped == 1
    assert guard.state_dict()["accepted"] == before
    assert guard.accepts(202, 4.0, 1.0)
    assert "step 201 is skipped: its " in caplog.text and "(1 skipped so far)" in caplog.text


def test_the_limit_is_six_standard_deviations_above_the_mean_of_the_window() -> None:
    guard = SpikeGuard(6.0, 128)
    generator = np.random.default_rng(1)
    seen = [(4.0 + 0.1 * generator.standard_normal(), 1.0) for _ in range(300)]
    for step, (loss, norm) in enumerate(seen, start=1):
        guard.accepts(step, loss, norm)
    window = np.array([loss for loss, _ in seen[-128:]])
    limit = window.mean() + 6.0 * window.std()
    assert not guard.accepts(301, limit + 1e-9, 1.0)
    assert guard.accepts(301, limit - 1e-9, 1.0)
    assert guard.accepts(302, 0.0, 0.0)  # downwards is welcome


def test_nothing_is_refused_before_the_window_is_full_or_when_it_is_off() -> None:
    assert filled(SpikeGuard(6.0, 128), 127).accepts(128, 1e6, 1e6)
    assert filled(SpikeGuard(0.0, 8), 100).accepts(101, 1e6, 1e6)


def test_what_stays_is_no_spike(caplog: pytest.LogCaptureFixture) -> None:
    guard = filled(SpikeGuard(6.0, 32), 64)
    judged = [guard.accepts(step, 9.0, 1.0) for step in range(65, 65 + PATIENCE + 40)]
    assert judged == [False] * PATIENCE + [True] * 40
    assert "is taken although" in caplog.text
    assert guard.skipped == PATIENCE


def test_its_state_continues_it_exactly() -> None:
    one = filled(SpikeGuard(6.0, 16), 40)
    one.accepts(41, 99.0, 1.0)
    other = SpikeGuard(6.0, 16)
    other.load_state_dict(one.state_dict())
    generator = np.random.default_rng(5)
    for step in range(42, 90):
        loss = 4.0 + 0.3 * generator.standard_normal()
        assert one.accepts(step, loss, 1.0) == other.accepts(step, loss, 1.0)
    assert one.state_dict() == other.state_dict()


def test_ranks_at_fault() -> None:
    assert ranks_at_fault([1.0, math.nan, 2.0, -math.inf]) == [1, 3]


@pytest.fixture
def spikes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps whose loss is ten times what it should be."""
    real = pretraining.step_loss

    def spiking(*arguments: Any) -> Any:
        result = real(*arguments)
        return result._replace(loss=result.loss * SPIKES.get(arguments[2].step + 1, 1.0))

    monkeypatch.setattr(pretraining, "step_loss", spiking)


def test_a_skipped_step_moves_nothing_and_the_window_outlives_a_crash(
    tmp_path: Path, spikes: None, caplog: pytest.LogCaptureFixture
) -> None:
    shards = write_shards(tmp_path / "shards")
    whole, seen = run(shards, tmp_path / "whole", **OPTIONS)
    assert [int(step["skipped_steps"]) for step in seen] == [0] * 13 + [1] * 4 + [2] * 3
    assert seen[13]["loss"] > 5 * seen[12]["loss"]
    assert "step 14 is skipped: its loss" in caplog.text and "step 18 is skipped" in caplog.text

    kept: dict[int, tuple[Any, Any]] = {}

    def look(step: int) -> None:
        """Take what the checkpoint before this step holds; end the first attempt between the spikes."""
        path = checkpoint_path(tmp_path / "cut" / "checkpoints", step - 1)
        if path.exists():
            kept[step - 1] = load_weights(path), load_state(path)
        if step == 17 and not kept.get(99):
            kept[99] = ({}, {})
            raise Interrupted

    with pytest.raises(Interrupted):
        run_with(look, shards, tmp_path / "cut")
    result, rest = run_with(look, shards, tmp_path / "cut")
    assert result.resumed_from == 16
    assert [step["loss"] for step in rest] == [step["loss"] for step in seen[16:]]
    assert weights_digest(result) == weights_digest(whole)
    for before, after, same in ((13, 14, True), (14, 15, False), (17, 18, True)):
        assert same_state(kept[before], kept[after]) is same
    assert kept[14][1]["guard"]["skipped"] == 1
    assert len(kept[14][1]["guard"]["accepted"]) == 8


def run_with(look: Any, shards: Path, folder: Path) -> Any:
    from models.trainer import train
    from tests.models.tiny_training import IDENTITY, TINY, tiny_config

    seen: list[dict[str, float]] = []

    def on_metrics(step: int, metrics: dict[str, float]) -> None:
        seen.append(metrics)
        look(step)

    config = tiny_config(**OPTIONS)
    result = train(TINY, config, shards, folder, on_metrics=on_metrics, identity=IDENTITY, progress=False)
    return result, seen


def same_state(one: tuple[Any, Any], other: tuple[Any, Any]) -> bool:
    """Whether weights and optimiser are the same bits."""
    weights = all(torch.equal(one[0][name], other[0][name]) for name in one[0])
    first, second = (each[1]["optimizer_states"][0]["state"] for each in (one, other))
    return weights and all(
        torch.equal(first[key][name], second[key][name]) for key in first for name in first[key]
    )


def test_fine_tuning_skips_nothing_unless_asked(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    _, seen = finetune(tmp_path / "plain", steps=60, checkpoint_every=100)
    assert {metrics["skipped_steps"] for _, metrics in seen} == {0.0}
    assert "skipped" not in caplog.text
    _, strict = finetune(tmp_path / "strict", steps=60, checkpoint_every=100, spike_sigma=0.5, spike_window=8)
    assert strict[-1][1]["skipped_steps"] > 0


def test_a_window_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    guard = SpikeGuard(6.0, 8)
    module = pretraining.Pretraining.__new__(pretraining.Pretraining)
    torch.nn.Module.__init__(module)
    module.guard = guard
    for wrong in ({}, {"guard": {"accepted": [[1.0]], "in_a_row": 0, "skipped": 0}}, {"guard": 3}):
        with pytest.raises(CheckpointError, match="guard cannot be taken up"):
            module.on_load_checkpoint(dict(wrong))
