"""What a training will take, before it is begun: memory from a walk through it, time from a few real steps.

Memory: the tensors of the full step are counted (`models.memory`), and a short trial of a whole micro-batch tells
what the process holds besides. Where a whole one takes too long, two trials with fewer rows tell that, and what the
allocator keeps beyond the tensors in use: a line through what they held against what their tensors needed, read off
at what the full step needs. On a GPU the tensors alone count.
Time: a step's time is put together from trials with one and two micro-batches, validations and checkpoints are
added as often as they are due.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from models.accumulation import fewest
from models.budget import BudgetConfig
from models.calibration import Task, Trial
from models.config import ModelConfig
from models.energy import ESTIMATE, RAPL
from models.execution import resolve_precision
from models.finetuning_config import FineTuningConfig
from models.flops import finetuning_flops, pretraining_flops, training_flops_per_token
from models.heads import TRANSLATION
from models.memory import Need, finetuning_need, pretraining_need
from models.training_config import OptimisationConfig, TrainingConfig
from models.trials import SECONDS, Trials, assumed_seconds, perform_trials

_FLOOR, _USUAL, _CEILING = 1.0, 1.2, 1.4
"""What a byte of tensors can cost, because a heap has gaps: at least, where the trials lie too near each other to
tell, and at most; beyond, the line is noise."""

_TELLING = 64 << 20
"""Bytes of tensors between two trials: libraries that are loaded late weigh up to a third of it."""


@dataclass(frozen=True)
class Forecast:
    """What a training will take. Bytes, seconds, joules; None where it could not be told."""

    parameters: int
    tokens: int
    flops: float
    need: Need
    base: int
    held: int  # beyond base and tensors, by the allocator
    micro_batches: int
    seconds: float | None
    joules: float | None
    step_seconds: float | None
    energy_method: str
    tried: str  # what the calibration did

    @property
    def memory(self) -> int:
        """The most bytes that the process will hold."""
        return self.base + self.need.total + self.held


def forecast_pretraining(
    model: ModelConfig,
    training: TrainingConfig,
    *,
    budget: BudgetConfig,
    folder: Path,
    room: int,
    seconds: float = SECONDS,
) -> Forecast:
    """Forecast a pretraining; `auto` micro-batches are settled by `room` bytes.

    Raises:
        CalibrationError: no step could be done here.
    """
    device = _device()
    precision = resolve_precision(training.precision, device)
    if training.gradient_accumulation == "auto":
        number = fewest(model, training, device, room) or training.batch_size
        training = training.model_copy(update={"gradient_accumulation": number})
    rows = training.batch_size // training.micro_batches
    step_flops = pretraining_flops(model, training)

    def need(count: int) -> Need:
        return pretraining_need(model, training, rows=count, precision=precision)

    trials = perform_trials(
        Task(model=model, training=training),
        rows,
        folder,
        seconds=seconds,
        row_seconds=assumed_seconds(step_flops / training.batch_size, device, precision),
        need=need,
        room=room,
        several=training.micro_batches > 1,
    )
    tokens = training.steps * training.batch_size * training.context_length
    per_token = training_flops_per_token(
        model,
        training.objective,
        training.context_length,
        mask_ratio=training.mask_ratio,
        causal_fraction=training.causal_rows / training.batch_size,
    )
    return _forecast(
        model,
        training,
        trials,
        need,
        rows,
        training.micro_batches,
        tokens,
        per_token.counted * tokens,
        budget,
    )


def forecast_finetuning(
    model: ModelConfig,
    training: FineTuningConfig,
    task: str,
    *,
    budget: BudgetConfig,
    folder: Path,
    room: int,
    seconds: float = SECONDS,
) -> Forecast:
    """Forecast a fine-tuning, of which every example is as long as it may be: the most it can take.

    Raises:
        CalibrationError: no step could be done here.
    """
    device = _device()
    precision = resolve_precision(training.precision, device)
    length = min(training.max_tokens, model.max_position_embeddings)
    words = task == TRANSLATION

    def need(count: int) -> Need:
        smaller = training.model_copy(update={"batch_size": count})
        return finetuning_need(model, smaller, task=task, precision=precision)

    flops = finetuning_flops(model, training.batch_size, length, words=words)
    rows = training.batch_size
    trials = perform_trials(
        Task(model=model, training=training, head=task),
        rows,
        folder,
        seconds=seconds,
        row_seconds=assumed_seconds(flops / rows, device, precision),
        need=need,
        room=room,
        several=False,
    )
    tokens = training.steps * training.batch_size * length
    return _forecast(model, training, trials, need, rows, 1, tokens, flops * training.steps, budget)


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _forecast(
    model: ModelConfig,
    training: OptimisationConfig,
    trials: Trials,
    need: Callable[[int], Need],
    rows: int,
    micro_batches: int,
    tokens: int,
    flops: float,
    budget: BudgetConfig,
) -> Forecast:
    whole = need(rows)
    base, slope = _line(trials, need, rows)
    step, cpu, joules = _whole_step(trials, rows, micro_batches)
    seconds = training.steps * step + _between_steps(training, trials.one)
    share = seconds / (training.steps * step)
    if joules is not None:
        method, energy = RAPL, joules * training.steps * share
    else:
        method, energy = ESTIMATE, cpu * training.steps * share * budget.watts_per_core
    if _device().type == "cuda":
        energy += seconds * budget.watts_per_gpu
    return Forecast(
        parameters=model.parameter_count(),
        tokens=tokens,
        flops=flops,
        need=whole,
        base=base,
        held=int((slope - 1.0) * whole.total),
        micro_batches=micro_batches,
        seconds=seconds,
        joules=energy,
        step_seconds=step,
        energy_method=method,
        tried=", ".join(
            f"{trial.rows} x {trial.micro_batches} rows {trial.seconds:.3g} s" for trial in trials if trial
        ),
    )


def _line(trials: Trials, need: Callable[[int], Need], rows: int) -> tuple[int, float]:
    """What a process holds without tensors, and what a byte of tensors costs, from the trials' peaks."""
    if _device().type == "cuda":
        return 0, 1.0
    large, small = trials.two or trials.one, trials.fewer
    large_need = need(large.rows).total
    if large.rows == rows:
        return large.peak - large_need, 1.0  # tried whole: what was held is what is told
    apart = large_need - need(small.rows).total if small else 0
    slope = (large.peak - small.peak) / apart if small and apart >= _TELLING else _USUAL
    slope = min(max(slope, _FLOOR), _CEILING)
    return int(large.peak - slope * large_need), slope


def _whole_step(trials: Trials, rows: int, micro_batches: int) -> tuple[float, float, float | None]:
    """Seconds, CPU seconds and joules of a step of so many micro-batches of so many rows.

    One more micro-batch takes as much longer as the trial with two of them took; without such a trial, one more
    row takes as much longer as between the trials with few rows and with more. CPU time and energy go with it.
    """
    one = trials.one
    if trials.two:
        more = (rows / one.rows * micro_batches - 1) * max(0.0, trials.two.seconds - one.seconds)
    else:
        more = (rows * micro_batches - one.rows) * _seconds_a_row(trials.fewer, one)
    share = 1.0 + more / one.seconds
    return one.seconds + more, one.cpu_seconds * share, None if one.joules is None else one.joules * share


def _seconds_a_row(small: Trial | None, large: Trial) -> float:
    """Between a quarter of the mean and the mean: the update of the weights takes as long for any number of rows."""
    mean = large.seconds / large.rows
    if small is None:
        return mean
    return min(mean, max(mean / 4, (large.seconds - small.seconds) / (large.rows - small.rows)))


def _between_steps(training: OptimisationConfig, trial: Trial) -> float:
    """Seconds of all validations and checkpoints."""
    validations = _times(training.steps, training.validate_every)
    checkpoints = _times(training.steps, training.checkpoint_every)
    validated = getattr(training, "validation_tokens", trial.validated)
    share = validated / trial.validated if trial.validated else 1.0
    return validations * trial.validation_seconds * share + checkpoints * trial.checkpoint_seconds


def _times(steps: int, every: int) -> int:
    return steps // every + (1 if steps % every else 0)
