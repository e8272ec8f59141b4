"""Which steps of a training to try before it is begun, and the trying of them.

One trial of a whole micro-batch, or of as many of its rows as there is time and memory for.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from models.accumulation import SHARE, smallest_fitting
from models.calibration import FEWEST_STEPS, Task, Trial, calibrate
from models.memory import Need
from models.meter import matrix_product_speed

SECONDS = 40.0
"""How long the steps of all trials may take, roughly."""

_ASSUMED_UTILISATION = 0.5  # for choosing how many rows to try, and where nothing can be tried
_MOST_STEPS = 24  # of a trial; more of them steady the mean
_FEWEST_TRIED = 2  # rows, so that there are two trials to draw a line through
_WORTHWHILE = 1.5  # times as many rows are worth another attempt


class Trials(NamedTuple):
    """What was tried of a training."""

    one: Trial
    """A step of one micro-batch, whole or with fewer rows than the training's own."""
    two: Trial | None = None
    """A step of two such micro-batches, where the training has several."""
    fewer: Trial | None = None
    """With fewer rows still, where the others are not whole; the same micro-batches as the largest."""


class Extent(NamedTuple):
    """How much of a training is tried: rows of a micro-batch, and steps."""

    rows: int
    steps: int


def assumed_seconds(flops: float, device: torch.device, precision: torch.dtype) -> float:
    """How long so much work takes here, roughly: what is known before anything was tried."""
    return flops / (_ASSUMED_UTILISATION * matrix_product_speed(device, precision))


def extent(rows: int, affordable: float, need: Callable[[int], Need], room: int, *, several: bool) -> Extent:
    """A whole micro-batch, or fewer rows where it takes too long or too much memory; and how many steps of it.

    Args:
        rows: of the training's own micro-batch.
        affordable: how many rows all trials together may go through.
        need: of a micro-batch with so many rows.
        room: bytes.
        several: whether two micro-batches are tried besides one.
    """
    each = int(affordable / (3 if several else 1))
    most = min(rows, max(_FEWEST_TRIED, each // FEWEST_STEPS))
    fewer = [most >> shift for shift in range(most.bit_length())]
    tried = smallest_fitting(fewer, lambda count: need(count).total, int(SHARE * room)) or 1
    return Extent(tried, min(_MOST_STEPS, max(FEWEST_STEPS, each // tried)))


def perform_trials(
    task: Task,
    rows: int,
    folder: Path,
    *,
    seconds: float,
    row_seconds: float,
    need: Callable[[int], Need],
    room: int,
    several: bool,
) -> Trials:
    """Try a training whose micro-batch has `rows`; a second time, where the first shows that there is time for more.

    Each trial whose memory matters comes first in a process: what an allocator keeps of an earlier one weighs
    up to a tenth.

    Args:
        task: the training.
        rows: of its micro-batch.
        folder: to work in.
        seconds: how long each attempt may take, roughly.
        row_seconds: how long a row takes, as far as it is known before anything was tried.
        need: of a micro-batch with so many rows.
        room: bytes.
        several: whether a step has more than one micro-batch.

    Raises:
        CalibrationError: no step could be done here.
    """
    both = (2, 1) if several else (1,)

    def attempt(name: str, chosen: Extent, *numbers: int) -> list[Trial]:
        sizes = tuple((chosen.rows, number) for number in numbers)
        changes = {"steps": chosen.steps, "sizes": sizes}
        return list(calibrate(task.model_copy(update=changes), folder / name))

    first = extent(rows, seconds / row_seconds, need, room, several=several)
    *two, one = attempt("first", first, *both)
    if first.rows == rows:
        return Trials(one, *two)
    more = extent(rows, seconds * one.rows / one.seconds, need, room, several=several)
    if more.rows >= _WORTHWHILE * first.rows:
        fewer = (*two, one)[0]
        *two, one = attempt("more", more, *both)
    elif first.rows > 1:
        (fewer,) = attempt("fewer", first._replace(rows=first.rows // 2), both[0])
    else:
        return Trials(one, *two)
    return Trials(one, two[0] if two else None, fewer)
