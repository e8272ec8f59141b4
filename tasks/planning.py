"""What the trainings of a run will take, told before anything runs: each number with how it was come by."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.budget import BudgetConfig, Spending
from models.finetuning_config import FineTuningConfig
from models.training_config import TrainingConfig
from tasks.errors import UnveilError

if TYPE_CHECKING:
    from models.config import ModelConfig
    from models.forecast import Forecast
    from models.room import Room

logger = logging.getLogger(__name__)

PRETRAINING = "pretraining"
_SHARE = 0.9  # of the memory there is that a training may take and still be said to fit


@dataclass(frozen=True)
class TrainingPlan:
    """One training. Memory in bytes; ``how`` says of each number where it comes from."""

    name: str
    parameters: int
    tokens: int
    flops: float
    memory: Mapping[str, int]
    total_memory: int
    fits: bool
    micro_batches: int
    proposed_micro_batches: int | None  # at the same effective batch, where the configured ones do not fit
    seconds: float
    kilowatt_hours: float
    cost: float
    beyond: str | None  # the cap of the budget that it will reach
    how: Mapping[str, str]


@dataclass(frozen=True)
class Plan:
    """All trainings of a run and the machine they were planned on."""

    trainings: tuple[TrainingPlan, ...]
    available: int
    available_by: str
    currency: str
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Planned:
    """What is to be planned: the shape, the trainings and the prices."""

    shape: ModelConfig
    pretraining: TrainingConfig
    heads: Mapping[str, FineTuningConfig]
    budget: BudgetConfig


def plan(
    wanted: Planned, folder: Path, *, beside: int, notes: tuple[str, ...] = (), seconds: float | None = None
) -> Plan:
    """Plan the pretraining and each fine-tuning.

    Args:
        wanted: what is to be planned.
        folder: an empty folder to try a few steps in.
        beside: bytes that the process of a run holds besides what a training loads.
        notes: what was assumed about things that are not there yet.
        seconds: how long each calibration may take, roughly.

    Raises:
        UnveilError: not even a small part of a step could be tried.
    """
    from models.calibration import CalibrationError
    from models.forecast import forecast_finetuning, forecast_pretraining
    from models.room import available
    from models.trials import SECONDS

    device = _device()
    room, within = available(device), SECONDS if seconds is None else seconds
    share = int(_SHARE * room.bytes) - beside
    prices = wanted.budget
    trainings = []
    try:
        told = forecast_pretraining(
            wanted.shape,
            wanted.pretraining,
            budget=prices,
            folder=folder / PRETRAINING,
            room=share,
            seconds=within,
        )
        trainings.append(_planned(PRETRAINING, told, prices, room, beside, wanted))
        for task, config in wanted.heads.items():
            told = forecast_finetuning(
                wanted.shape, config, task, budget=prices, folder=folder / task, room=share, seconds=within
            )
            trainings.append(_planned(f"finetuning-{task}", told, prices, room, beside, None))
    except CalibrationError as error:
        remedy = "try with fewer, or look at the message; nothing was changed"
        raise UnveilError(f"a few steps could not be tried ({error})", stage="plan", remedy=remedy) from error
    return Plan(tuple(trainings), room.bytes, room.source, wanted.budget.currency, notes)


def announce(shape: ModelConfig, training: TrainingConfig) -> None:
    """Tell the log in one line what a pretraining takes, as far as it is known without trying a step."""
    from models.execution import resolve_precision
    from models.flops import pretraining_flops
    from models.memory import pretraining_need
    from models.room import available, resident

    device = _device()
    room = available(device)
    if training.gradient_accumulation == "auto":
        needed = "as much memory as there is"
    else:
        precision = resolve_precision(training.precision, device)
        rows = training.batch_size // training.micro_batches
        need = pretraining_need(shape, training, rows=rows, precision=precision)
        needed = f"{need.total >> 20} MB for the tensors of a step"
    logger.info(
        "pretraining: %s tokens, %.3g FLOP, %s beside the %d MB that the process holds; %d MB are free (%s); "
        "`unveil plan` tells time and cost",
        f"{training.steps * training.batch_size * training.context_length:,}",
        training.steps * pretraining_flops(shape, training),
        needed,
        resident() >> 20,
        room.bytes >> 20,
        room.source,
    )


def _device() -> Any:
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _planned(
    name: str, told: Forecast, budget: BudgetConfig, room: Room, beside: int, cuttable: Planned | None
) -> TrainingPlan:
    memory = dict(told.need._asdict()) | {"allocator": told.held, "process": told.base + beside}
    total = sum(memory.values())
    fits = total <= _SHARE * room.bytes
    spending = Spending(told.seconds or 0.0, told.flops, told.joules or 0.0)
    proposed = None if fits or cuttable is None else _fewest(cuttable, told, room, beside)
    return TrainingPlan(
        name=name,
        parameters=told.parameters,
        tokens=told.tokens,
        flops=told.flops,
        memory=memory,
        total_memory=total,
        fits=fits,
        micro_batches=told.micro_batches,
        proposed_micro_batches=proposed,
        seconds=spending.seconds,
        kilowatt_hours=spending.kilowatt_hours,
        cost=budget.price(spending.seconds, spending.joules),
        beyond=spending.reached(budget),
        how=dict(_how(told, budget, pretraining=cuttable is not None)),
    )


def _fewest(wanted: Planned, told: Forecast, room: Room, beside: int) -> int | None:
    """Micro-batches that fit, if what the allocator keeps is the same share of the tensors."""
    from models.accumulation import fewest

    tensors = (_SHARE * room.bytes - told.base - beside) / (1.0 + told.held / told.need.total)
    return fewest(wanted.shape, wanted.pretraining, _device(), int(tensors))


def _how(told: Forecast, budget: BudgetConfig, *, pretraining: bool) -> Iterator[tuple[str, str]]:
    yield "parameters", "counted"
    if pretraining:
        yield "tokens", "steps x sequences x context"
        yield "flops", "matrix products of forward and backward, counted by operator"
    else:
        yield "tokens", "at most: as if every example were as long as it may be"
        yield "flops", "6 x weights x tokens, and attention; at most, as the tokens"
    yield (
        "memory",
        "tensors counted in a walk through a step; process and allocator measured in the tried steps",
    )
    yield (
        "seconds",
        f"steps tried here ({told.tried}), with validations and checkpoints; without torch.compile",
    )
    if told.energy_method == "rapl":
        yield (
            "kilowatt_hours",
            "the processor's energy counter (RAPL) in the tried steps: the whole machine's",
        )
    else:
        yield (
            "kilowatt_hours",
            f"assumed: {budget.watts_per_core:g} W for each busy core; there is no counter here",
        )
    yield (
        "cost",
        f"{budget.price_per_kilowatt_hour:g} {budget.currency}/kWh and {budget.price_per_hour:g} {budget.currency}/h, "
        "as configured",
    )
