"""A picture of how the corpus shrank: what was read, what each rule took, what stayed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tasks.reporting.pictures import FAINT, INK, OURS, RIVALS, drawing
from tasks.reporting.safe_text import cut, visible

_MOST_RULES = 12
_LONGEST = 28


class Step(NamedTuple):
    """One bar: its name, how many documents it stands for, and how many are left below it."""

    name: str
    size: int
    left: int


def steps(read: int, dropped: Mapping[str, int]) -> list[Step]:
    """The bars from top to bottom, the rules by what they took; rules beyond the twelfth share one bar.

    Args:
        read: documents that came in.
        dropped: documents that each rule took.
    """
    ranked = sorted(dropped.items(), key=lambda item: (-item[1], item[0]))
    shown, rest = ranked[:_MOST_RULES], ranked[_MOST_RULES:]
    if rest:
        shown.append((f"{len(rest)} other rules", sum(count for _, count in rest)))
    found, left = [Step("read", read, 0)], read
    for name, count in shown:
        left -= count
        found.append(Step(name, count, left))
    return [*found, Step("kept", left, 0)]


def waterfall(path: Path, read: int, dropped: Mapping[str, int], dpi: int) -> bool:
    """Draw the bars; False, and no picture, when nothing was dropped."""
    if not read or not dropped:
        return False
    bars = steps(read, dropped)
    with drawing(path, 7.2, 0.9 + 0.32 * len(bars), dpi) as figure:
        axes = figure.subplots()
        for place, bar in enumerate(bars):
            ours = bar.name in ("read", "kept") and place in (0, len(bars) - 1)
            axes.barh(place, bar.size, left=bar.left, height=0.62, color=OURS if ours else RIVALS[0])
            sign = "" if ours else "−"
            told = f" {sign}{bar.size:,} ({100 * bar.size / read:.1f} %)"
            axes.text(bar.left + bar.size, place, told, va="center", ha="left", color=INK)
            if place:
                axes.plot([bar.left + bar.size] * 2, [place - 1, place], color=FAINT, linewidth=1, zorder=0)
        axes.set_yticks(range(len(bars)), [cut(visible(bar.name), _LONGEST) for bar in bars])
        axes.set(xlabel="documents", xlim=(0, 1.3 * read))
        axes.invert_yaxis()
    return True
