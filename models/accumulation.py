"""The fewest micro-batches with which a training step fits the memory there is.

The effective batch stays what it is, so the losses are the same but for the rounding of their sums.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from models.config import ModelConfig
from models.execution import resolve_precision
from models.memory import pretraining_need
from models.room import available
from models.training_config import TrainingConfig

logger = logging.getLogger(__name__)

CHOSEN = "accumulation.json"
SHARE = 0.7
"""Of the memory there is that tensors may take: an allocator holds up to a third more than is in use."""


def settled(
    model: ModelConfig, training: TrainingConfig, folder: Path, *, ranks: int = 1, taken_up: bool
) -> TrainingConfig:
    """The configuration with `auto` replaced by a number, which is kept in `folder`.

    A training that is taken up again goes on with the number it began with: another would change the last digits.
    """
    if training.gradient_accumulation != "auto":
        return training
    number = _kept(folder / CHOSEN, training) if taken_up else None
    if number is None:
        number = _choose(model, training, ranks)
        (folder / CHOSEN).write_text(json.dumps(number), encoding="utf-8")
    return training.model_copy(update={"gradient_accumulation": number})


def fewest(
    model: ModelConfig, training: TrainingConfig, device: torch.device, room: int, *, ranks: int = 1
) -> int | None:
    """The smallest number of micro-batches whose tensors take at most `room` bytes; None when none does."""
    precision = resolve_precision(training.precision, device)
    local = training.batch_size // ranks

    def need(number: int) -> int:
        config = training.model_copy(update={"gradient_accumulation": number})
        return pretraining_need(model, config, rows=local // number, precision=precision).total

    return smallest_fitting(list(_divisors(local)), need, room)


def smallest_fitting(numbers: list[int], need: Callable[[int], int], room: int) -> int | None:
    """The first of increasing `numbers` whose need, which never grows, is within `room`; by halving."""
    if need(numbers[0]) <= room:
        return numbers[0]
    if need(numbers[-1]) > room:
        return None
    low, high = 0, len(numbers) - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if need(numbers[middle]) <= room else (middle, high)
    return numbers[high]


def _choose(model: ModelConfig, training: TrainingConfig, ranks: int) -> int:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    room = available(device)
    share = room.bytes if device.type == "cuda" else room.bytes // ranks
    number = fewest(model, training, device, int(SHARE * share), ranks=ranks)
    if number is None:
        number = training.batch_size // ranks
        logger.warning("even one sequence at a time may not fit the %d MB there are", share >> 20)
    logger.info(
        "gradient_accumulation: %d, by the %d MB there are (%s); %d sequences a step as configured",
        number,
        share >> 20,
        room.source,
        training.batch_size,
    )
    return number


def _divisors(number: int) -> Iterator[int]:
    return (candidate for candidate in range(1, number + 1) if number % candidate == 0)


def _kept(path: Path, training: TrainingConfig) -> int | None:
    try:
        number = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    whole = isinstance(number, int) and number > 0 and training.batch_size % number == 0
    return number if whole else None
