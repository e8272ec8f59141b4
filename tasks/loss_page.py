"""A training's loss as a page, its largest jumps marked, each with the documents of its step.

Made anew from the curves and the shards whenever it is shown, and no part of the artefact: another way to draw
it must not train a model again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks import tables, window_tracing
from tasks.artifacts import Artifact
from tasks.passages import Passage

PAGE = "loss.html"
TEMPLATE = "loss_page.html.j2"
WINDOW = 128
"""Steps before a step that its loss is compared with; their median and spread do not move with one outlier."""

UNUSUAL = 6.0
_FEWEST = 16  # steps to know what is usual
_SHOWN, _PASSAGES, _POINTS = 8, 6, 1_000
_TO_SIGMA = 1.4826  # of a normal distribution, from the median absolute deviation
_WIDTH, _HEIGHT = 900.0, 260.0


@dataclass(frozen=True)
class Jump:
    """A step whose loss lies above what the steps before it let expect."""

    step: int
    loss: float
    z: float
    x: float  # place in the drawing
    y: float
    passages: tuple[Passage, ...]
    more: int  # passages that are not shown
    command: str


def robust_z(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far each loss lies above the median of up to `WINDOW` losses before it, in robust deviations.

    0 for the first `_FEWEST` steps, of which nothing is known yet. A spread of less than a ten-thousandth of
    the median counts as that much, or a flat curve would make a jump of every last digit.
    """
    found = np.zeros(len(losses))
    for place in range(_FEWEST, len(losses)):
        before = losses[max(0, place - WINDOW) : place]
        middle = float(np.median(before))
        spread = _TO_SIGMA * float(np.median(np.abs(before - middle)))
        found[place] = (losses[place] - middle) / max(spread, 1e-4 * abs(middle), 1e-12)
    return found


def pages(artifact: Artifact, inputs: Mapping[str, Artifact], run_id: str) -> dict[str, str]:
    """What is shown beside a pretraining in MLflow, by file name; ``run_id`` is its run there."""
    curves = tables.iterate(artifact.file("curves.parquet"), ["step", "loss"])
    rows = [(int(row["step"]), float(row["loss"])) for row in curves if row["loss"] is not None]
    if len(rows) < 2:
        return {}
    training = artifact.manifest().key["config"]["training"]
    reading = window_tracing.reading_of(inputs["tokenization"].path, training, continued="champion" in inputs)
    return {PAGE: render(rows, reading, run_id)}


def render(rows: Sequence[tuple[int, float]], reading: window_tracing.PretrainingReading, run_id: str) -> str:
    """The page; every word of the documents is escaped."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = Path(__file__).with_name(TEMPLATE).read_text(encoding="utf-8")
    steps, losses = np.array([step for step, _ in rows]), np.array([loss for _, loss in rows])
    scale = _Scale(steps, losses)
    z = robust_z(losses)
    largest = [int(place) for place in np.argsort(-z, kind="stable")[:_SHOWN] if z[place] > 0]
    jumps = [_jump(int(steps[at]), float(losses[at]), float(z[at]), scale, reading, run_id) for at in largest]
    return environment.from_string(template).render(
        jumps=jumps,
        unusual=sum(jump.z >= UNUSUAL for jump in jumps),
        threshold=UNUSUAL,
        window=WINDOW,
        points=scale.points(steps, losses),
        steps=int(steps[-1]),
        low=scale.low,
        high=scale.high,
        width=_WIDTH,
        height=_HEIGHT,
    )


class _Scale:
    """From steps and losses to places in the drawing."""

    def __init__(self, steps: NDArray[Any], losses: NDArray[Any]) -> None:
        self._last = max(1, int(steps[-1]))
        self.low, self.high = float(losses.min()), float(losses.max())

    def place(self, step: float, loss: float) -> tuple[float, float]:
        share = (loss - self.low) / max(self.high - self.low, 1e-12)
        return round(_WIDTH * step / self._last, 1), round(_HEIGHT * (1.0 - share), 1)

    def points(self, steps: NDArray[Any], losses: NDArray[Any]) -> str:
        """The line, of each stretch of steps its highest loss: a jump must not fall between two points."""
        stretches = np.array_split(np.arange(len(steps)), min(_POINTS, len(steps)))
        chosen = [int(part[np.argmax(losses[part])]) for part in stretches]
        places = [self.place(float(steps[at]), float(losses[at])) for at in chosen]
        return " ".join(f"{x},{y}" for x, y in places)


def _jump(
    step: int, loss: float, z: float, scale: _Scale, reading: window_tracing.PretrainingReading, run_id: str
) -> Jump:
    found = tuple(reading.passages(step))
    longest = sorted(found, key=lambda passage: -passage.tokens)[:_PASSAGES]
    x, y = scale.place(step, loss)
    command = f"unveil trace --run {run_id} --step {step}"
    return Jump(step, loss, z, x, y, tuple(longest), len(found) - len(longest), command)
