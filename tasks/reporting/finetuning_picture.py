"""How the teaching of one task went: its loss, and the scores on validation rows, over the steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.reporting.pictures import OURS, RIVALS, curve, drawing, label, smoothed
from tasks.reporting.task_verdict import spoken

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PREFIX, _LOSS = "validation_", "validation_loss"
Rows = Sequence[Mapping[str, Any]]


def finetuning_curve(path: Path, rows: Rows, dpi: int) -> bool:
    """Draw the rows of a fine-tuning's ``curves.parquet``: step, loss, validation_*.

    Returns whether there was a loss to draw; without one nothing is written.
    """
    losses = curve(rows, "loss")
    if not len(losses):
        return False
    names = dict.fromkeys(name for row in rows for name in row if name.startswith(_PREFIX))
    scores = [name for name in names if name != _LOSS and len(curve(rows, name))]
    panels = 2 if scores else 1
    with drawing(path, 4.2 * panels, 2.6, dpi) as figure:
        axes = figure.subplots(1, panels, squeeze=False)[0]
        _losses(axes[0], rows)
        if scores:
            _scores(axes[1], rows, scores)
    return True


def _losses(axes: Axes, rows: Rows) -> None:
    points, validation = curve(rows, "loss"), curve(rows, _LOSS)
    axes.plot(points[:, 0], points[:, 1], color=OURS, alpha=0.35, linewidth=0.8, label="each step")
    axes.plot(points[:, 0], smoothed(points[:, 1]), color=OURS, linewidth=1.8, label="smoothed")
    if len(validation):
        axes.plot(
            validation[:, 0], validation[:, 1], color=RIVALS[0], marker="o", markersize=4, label="validation"
        )
    axes.set(title="Loss", ylabel="nats")
    _finish(axes)


def _scores(axes: Axes, rows: Rows, names: Sequence[str]) -> None:
    for place, name in enumerate(names):
        points = curve(rows, name)
        colour = RIVALS[place % len(RIVALS)]
        title = label(spoken(name.removeprefix(_PREFIX)))
        axes.plot(points[:, 0], points[:, 1], color=colour, marker="o", markersize=4, label=title)
    axes.set(title="Scores on validation rows")
    axes.margins(y=0.12)
    _finish(axes)


def _finish(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set(xlabel="step")
    axes.set_xlim(left=0)
    axes.grid(axis="y")
    axes.legend(loc="best", fontsize=8.5)
