"""What a walk through a step counts is what tensors there are; micro-batches are chosen by it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from models.accumulation import CHOSEN, settled, smallest_fitting
from models.config import ModelConfig
from models.finetuning_config import FineTuningConfig
from models.memory import finetuning_need, pretraining_need
from models.room import Room
from models.training_config import TrainingConfig
from tests.models.tiny_training import TINY, run, tiny_config, write_shards

SHAPE = ModelConfig(
    vocab_size=512,
    hidden_size=64,
    intermediate_size=128,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=32,
    max_position_embeddings=64,
)
FLOAT = 4


def test_what_stays_is_counted_to_the_byte() -> None:
    training = TrainingConfig(optimiser="adamw", batch_size=2, context_length=64)
    need = pretraining_need(SHAPE, training, rows=2, precision=torch.float32)
    parameters = SHAPE.parameter_count()
    rotary = 2 * SHAPE.max_position_embeddings * SHAPE.head_dim
    assert need.weights == FLOAT * (parameters + rotary)
    assert need.gradients == FLOAT * parameters
    tensors = (
        SHAPE.num_hidden_layers * 11 + 2
    )  # seven matrices and four norms a layer, the table, the last norm
    assert need.optimiser == FLOAT * (2 * parameters + tensors)  # two moments, and a count for each tensor
    muon = pretraining_need(
        SHAPE, training.model_copy(update={"optimiser": "muon"}), rows=2, precision=torch.float32
    )
    assert muon.optimiser < need.optimiser  # one moment for the hidden matrices instead of two


@pytest.mark.parametrize("objective", ["causal", "masked", "hybrid"])
def test_activations_grow_with_the_rows_and_shrink_with_the_type(objective: str) -> None:
    training = TrainingConfig(objective=objective, batch_size=64, context_length=64, validation_tokens=64)
    small, large = (
        pretraining_need(SHAPE, training, rows=rows, precision=torch.float32).activations
        for rows in (64, 128)
    )
    assert 1.8 < large / small < 2.05
    half = pretraining_need(SHAPE, training, rows=128, precision=torch.bfloat16).activations
    assert half < large


@pytest.mark.parametrize("task", ["sentiment", "question-answering", "translation"])
def test_every_head_can_be_walked_through(task: str) -> None:
    config = FineTuningConfig(batch_size=8, max_tokens=64)
    need = finetuning_need(SHAPE, config, task=task, precision=torch.float32)
    assert need.gradients >= FLOAT * SHAPE.parameter_count()
    without = finetuning_need(
        SHAPE, config.model_copy(update={"batch_size": 4}), task=task, precision=torch.float32
    )
    assert 1.5 < need.activations / without.activations < 2.5


def test_what_is_too_large_to_be_walked_through_is_extrapolated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is computed either: terabytes are told of in seconds."""
    training = TrainingConfig(batch_size=64, context_length=64, validation_tokens=64)
    walked = pretraining_need(SHAPE, training, rows=192, precision=torch.float32)
    monkeypatch.setattr("models.memory._WALKED", 128 * 64)
    told = pretraining_need(SHAPE, training, rows=192, precision=torch.float32)
    assert told.activations == pytest.approx(walked.activations, rel=0.02)
    assert told[:3] == walked[:3]
    wide = SHAPE.model_copy(update={"hidden_size": 65_536, "intermediate_size": 262_144})
    assert pretraining_need(wide, training, rows=1 << 20, precision=torch.float32).total > 10**12


def test_the_smallest_number_that_fits_is_taken() -> None:
    needs = {1: 100, 2: 60, 4: 40, 8: 30}
    asked: list[int] = []

    def need(number: int) -> int:
        asked.append(number)
        return needs[number]

    assert smallest_fitting(list(needs), need, 100) == 1 and asked == [1]
    assert smallest_fitting(list(needs), need, 60) == 2
    assert smallest_fitting(list(needs), need, 59) == 4
    assert smallest_fitting(list(needs), need, 29) is None


def test_auto_keeps_the_effective_batch_and_its_choice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shards = write_shards(tmp_path / "shards")
    plain, seen = run(shards, tmp_path / "plain", steps=4)
    whole, half = (
        pretraining_need(
            TINY, tiny_config(gradient_accumulation=parts), rows=4 // parts, precision=torch.float32
        ).total
        for parts in (1, 2)
    )
    room = Room(int((whole + half) / 2 / 0.7), "a test")
    assert half < whole
    monkeypatch.setattr("models.accumulation.available", lambda _device: room)
    with caplog.at_level(logging.INFO, logger="models.accumulation"):
        cut, parts = run(shards, tmp_path / "auto", steps=4, gradient_accumulation="auto")
    assert "gradient_accumulation: 2, by the" in caplog.text and "4 sequences a step" in caplog.text
    assert [step["loss"] for step in parts] == pytest.approx([step["loss"] for step in seen], rel=1e-5)
    assert cut.tokens == plain.tokens
    checkpoints = tmp_path / "auto" / "checkpoints"
    monkeypatch.setattr("models.accumulation.available", lambda _device: Room(1 << 40, "a larger machine"))
    auto = tiny_config(gradient_accumulation="auto")
    assert settled(TINY, auto, checkpoints, taken_up=True).micro_batches == 2
    assert settled(TINY, auto, checkpoints, taken_up=False).micro_batches == 1
    (checkpoints / CHOSEN).write_text("3")  # no divisor of the batch
    assert settled(TINY, auto, checkpoints, taken_up=True).micro_batches == 1


def test_auto_is_never_trained_with() -> None:
    with pytest.raises(ValueError, match="has to be settled"):
        _ = tiny_config(gradient_accumulation="auto").micro_batches
    with pytest.raises(ValueError, match="multiple of gradient_accumulation"):
        tiny_config(gradient_accumulation=3)
