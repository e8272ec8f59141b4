"""The report's pictures, in one style, and of the same bytes on every rerun.

Drawn without pyplot, so that nothing is shared between threads and no screen is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.reporting.safe_text import cut, visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by colour-blind readers; grey for what is only there to compare with.
OURS, RIVALS, FLOORS = "#0072b2", ("#d55e00", "#e69f00", "#cc79a7", "#009e73"), ("#8a8a8a", "#c4c4c4")
INK, FAINT = "#333333", "#dddddd"
_STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so the letters are the same everywhere
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "text.color": INK,
    "text.parse_math": False,  # a dollar in the data is a dollar
    "xtick.color": INK,
    "ytick.color": INK,
}
_LONGEST_LABEL = 24
_POINTS = 2_000  # of a curve: more than the picture has pixels


class Bar(NamedTuple):
    """One model's number, with the ends of its interval where it has one."""

    name: str
    value: float
    low: float | None
    high: float | None

    @property
    def whiskers(self) -> NDArray[np.float64] | None:
        """Distances from the value down and up, as (2, 1)."""
        if self.low is None or self.high is None:
            return None
        return np.array([[max(0.0, self.value - self.low)], [max(0.0, self.high - self.value)]])


@contextmanager
def drawing(path: Path, width: float, height: float, dpi: int) -> Iterator[Figure]:
    """A figure of ``width`` by ``height`` inches in the project's style, written to ``path`` at the end."""
    import matplotlib.style
    from matplotlib.figure import Figure

    with matplotlib.style.context(["default", _STYLE]):
        figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
        yield figure
        figure.savefig(path, format="png", dpi=dpi, metadata={"Software": None})


def training_curve(path: Path, rows: Sequence[Mapping[str, Any]], dpi: int) -> None:
    """Training loss over the tokens seen and, where it was measured, validation beside it.

    ``rows`` are those of ``curves.parquet``: step, tokens, loss, learning_rate, validation_bits_per_byte ...
    """
    scores = [(name, curve(rows, name)) for name, _ in _VALIDATIONS]
    name, validation = next(((n, c) for n, c in scores if len(c)), ("", np.empty((0, 2))))
    panels = 2 if len(validation) else 1
    with drawing(path, 4.6 * panels, 3.3, dpi) as figure:
        axes = figure.subplots(1, panels, squeeze=False)[0]
        _loss_panel(axes[0], curve(rows, "loss"))
        if panels == 2:
            _validation_panel(axes[1], validation, dict(_VALIDATIONS)[name])


_VALIDATIONS = (
    ("validation_bits_per_byte", "bits per byte"),
    ("validation_masked_loss", "nats per hidden word"),
    ("validation_loss", "nats per token"),
)


def _loss_panel(axes: Axes, points: NDArray[np.float64]) -> None:
    tokens, losses = points[:, 0], points[:, 1]
    smooth = smoothed(losses)
    every = max(1, len(tokens) // _POINTS)
    axes.plot(tokens[::every], losses[::every], color=OURS, alpha=0.4, linewidth=0.8, label="each step")
    axes.plot(tokens[::every], smooth[::every], color=OURS, linewidth=1.8, label="smoothed")
    # the first steps are near ln(vocabulary) for every model and would flatten all that follows
    top = float(np.percentile(losses, 99)) if len(losses) > 100 else float(losses.max())
    spread = max(top - float(losses.min()), 1e-6)
    axes.set_ylim(float(losses.min()) - 0.06 * spread, top + 0.12 * spread)
    axes.set(title="Training loss", xlabel="tokens seen", ylabel="nats per prediction")
    axes.legend(loc="upper right")
    _token_axis(axes)


def _validation_panel(axes: Axes, points: NDArray[np.float64], unit: str) -> None:
    axes.plot(points[:, 0], points[:, 1], color=RIVALS[0], marker="o", markersize=4, linewidth=1.6)
    last = points[-1]
    axes.annotate(
        f"{last[1]:.3f}",
        (last[0], last[1]),
        xytext=(0, 9),
        textcoords="offset points",
        ha="right",
        weight="bold",
    )
    axes.set(title="Validation", xlabel="tokens seen", ylabel=unit)
    axes.margins(y=0.12)
    _token_axis(axes)


def _token_axis(axes: Axes) -> None:
    from matplotlib.ticker import EngFormatter, MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlim(left=0)
    axes.grid(axis="y")


def curve(rows: Sequence[Mapping[str, Any]], name: str) -> NDArray[np.float64]:
    """Points (n, 2): the tokens seen (or the steps, where they were not written down) and one column."""
    found = [
        (row["step"] if row.get("tokens") is None else row["tokens"], row[name])
        for row in rows
        if row.get(name) is not None
    ]
    return np.array(found, dtype=np.float64).reshape(-1, 2)


def smoothed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over a window of a fiftieth of the curve, narrower at its ends."""
    half = len(values) // 100
    sums = np.concatenate([[0.0], np.cumsum(values)])
    places = np.arange(len(values))
    low, high = np.maximum(places - half, 0), np.minimum(places + half + 1, len(values))
    smooth: NDArray[np.float64] = (sums[high] - sums[low]) / (high - low)
    return smooth


def quality_bars(
    path: Path, overall: Sequence[Bar], by_domain: Mapping[str, Sequence[Bar]], unit: str, dpi: int
) -> None:
    """Bars for all text on the left; where there are several domains, points for each on the right.

    The first of ``overall`` is our model. Whiskers are 95 % intervals.
    """
    panels = 2 if len(by_domain) > 1 else 1
    height = max(2.4, 0.55 + 0.42 * max(len(overall), len(by_domain) * (panels - 1)))
    with drawing(path, 5.2 * panels, height, dpi) as figure:
        axes = figure.subplots(1, panels, squeeze=False)[0]
        colours = _colours([bar.name for bar in overall])
        _overall_panel(axes[0], overall, colours, unit)
        if panels == 2:
            _domain_panel(axes[1], by_domain, colours, unit)


def _overall_panel(axes: Axes, bars: Sequence[Bar], colours: Mapping[str, str], unit: str) -> None:
    longest = max(bar.high or bar.value for bar in bars)
    for place, bar in enumerate(bars):
        axes.barh(
            place,
            bar.value,
            height=0.66,
            color=colours[bar.name],
            xerr=bar.whiskers,
            error_kw={"ecolor": INK, "elinewidth": 1.2, "capsize": 3},
        )
        end = (bar.high or bar.value) + 0.02 * longest
        axes.text(end, place, f"{bar.value:.3f}", va="center", weight="bold" if place == 0 else "normal")
    axes.set_yticks(range(len(bars)), [label(bar.name) for bar in bars])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.16 * longest)
    axes.set(title="All test documents", xlabel=f"{unit} (less is better)")
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")


def _domain_panel(
    axes: Axes, by_domain: Mapping[str, Sequence[Bar]], colours: Mapping[str, str], unit: str
) -> None:
    """One row a domain. Floors are left out where there are rivals: next to them all others look alike."""
    names = [name for name in colours if not _is_floor(name)]
    names = names if len(names) > 1 else list(colours)
    for row, bars in enumerate(by_domain.values()):
        for bar in (bar for bar in bars if bar.name in names):
            place = names.index(bar.name)
            axes.errorbar(
                bar.value,
                row + 0.56 * (place / (len(names) - 1) - 0.5),
                xerr=bar.whiskers,
                fmt="s" if place else "o",
                markersize=4.5 if place else 6,
                color=colours[bar.name],
                elinewidth=1.3,
                label=None if row else label(bar.name),
            )
    axes.set_yticks(range(len(by_domain)), [label(name) for name in by_domain])
    axes.set_ylim(len(by_domain) - 0.5, -0.5)
    axes.set(title="By domain", xlabel=f"{unit} (less is better)")
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8.5)


def _colours(names: Sequence[str]) -> dict[str, str]:
    """Our model first, floors in grey, the others in the order in which they come."""
    floors = {
        name: FLOORS[0] if name.startswith("unigram") else FLOORS[1] for name in names[1:] if _is_floor(name)
    }
    rivals = [name for name in names[1:] if name not in floors]
    others = {name: RIVALS[place % len(RIVALS)] for place, name in enumerate(rivals)} | floors
    return {names[0]: OURS, **{name: others[name] for name in names[1:]}}


def _is_floor(name: str) -> bool:
    return name.startswith(("unigram", "uniform"))


def label(text: str) -> str:
    """Text as a picture shows it: short, and with nothing invisible in it."""
    return visible(cut(text, _LONGEST_LABEL))
