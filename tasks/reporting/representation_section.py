"""Who the training text speaks of, as the report shows it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tasks.reporting import measurements
from tasks.reporting.config import ReportingConfig
from tasks.reporting.page import Section
from tasks.reporting.pictures import FAINT, FLOORS, INK, OURS, RIVALS, drawing
from tasks.reporting.representation_since import since
from tasks.reporting.safe_text import cut, visible
from tasks.reporting.sources import Evidence, Row
from tasks.reporting.verdict import ALL_DOMAINS
from tasks.representation.audit import RATE, SUITE, WOMEN

FORMER = "former"  # the evaluation of the corpus before, among the report's inputs
_LONGEST = 30
_MOST_DOMAINS = 5


def representation(evidence: Evidence, config: ReportingConfig, folder: Path) -> Section | None:
    """The section with its pictures; nothing where the audit was not made."""
    rows = evidence.of_suite(SUITE)
    if not rows:
        return None
    section = Section("Who the text speaks of")
    section.say(
        "Counted in the training text by lists of English words. A list finds what it lists: “he” and “man” stand for",
        "anybody in older text, and a word of praise near a group is no praise of it. Intervals are over documents;",
        "among so many numbers, about one interval in twenty misses.",
    )
    rates = [row for row in rows if row["metric"] == RATE]
    dots(folder / "representation.png", rates, "mentions per million words", config.picture_dpi, log=True)
    section.picture("representation.png", "How often each group is named, in all text and by domain")
    women = [row for row in rows if row["metric"] == WOMEN]
    if len(women) > 1:
        dots(
            folder / "occupations.png", women, "share of women among women and men named", config.picture_dpi
        )
        section.picture("occupations.png", "Share of women among women and men named near an occupation")
    measurements.listing(section, rows, config, f"All {len(rows):,} numbers of the audit")
    changes = Section("")
    brief = since(changes, evidence.artifacts["evaluation"], evidence.artifacts.get(FORMER), config, folder)
    section.say(f"**Since the corpus before.** {brief}")
    section.take(changes)
    return section


def dots(path: Path, rows: Sequence[Row], label: str, dpi: int, log: bool = False) -> None:
    """One line for each condition: its value in all text with the interval, and a small dot for each domain."""
    names = list(dict.fromkeys(row["condition"] for row in rows))
    domains = [name for name in dict.fromkeys(row["domain"] for row in rows) if name != ALL_DOMAINS]
    colours = dict(zip(domains[:_MOST_DOMAINS], (*RIVALS, FLOORS[0]), strict=False))
    with drawing(path, 7.2, 1.1 + 0.24 * len(names), dpi) as figure:
        axes = figure.subplots()
        for row in rows:
            place = names.index(row["condition"])
            if row["domain"] == ALL_DOMAINS:
                low, high = row["low"], row["high"]
                if low is not None and high is not None:
                    axes.plot([low, high], [place, place], color=OURS, linewidth=2, alpha=0.6)
                inside = OURS if row["value"] else "white"  # a group that is never named
                axes.plot(
                    row["value"],
                    place,
                    "o",
                    color=OURS,
                    markerfacecolor=inside,
                    markersize=6,
                    zorder=3,
                    clip_on=False,
                )
            elif row["domain"] in colours:
                axes.plot(row["value"], place, "|", color=colours[row["domain"]], markersize=9, zorder=2)
        axes.set_yticks(range(len(names)), [cut(visible(name), _LONGEST) for name in names])
        axes.set(xlabel=label, ylim=(len(names) - 0.4, -0.6))
        axes.grid(axis="y", color=FAINT)
        if log:
            axes.set_xscale("symlog", linthresh=10)
            axes.set_xlim(left=0)
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        else:
            axes.set_xlim(0, 1)
            axes.axvline(rows[0]["value"], color=INK, linewidth=0.8, linestyle=":")
        handles = [axes.plot([], [], "o", color=OURS, label="all text, with its interval")[0]]
        handles += [
            axes.plot([], [], "|", color=c, markersize=9, label=visible(n))[0] for n, c in colours.items()
        ]
        if colours:
            figure.legend(handles=handles, loc="outside upper center", ncols=3)
