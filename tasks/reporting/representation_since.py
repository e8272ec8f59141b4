"""What changed in whom the text speaks of since the corpus before, for the report and for a page of its own.

The page is shown beside the evaluation, in its MLflow run and in Prefect, and is no part of it: an evaluation must not
depend on what was there before. In the report it is, since the former evaluation is one of the report's inputs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from tasks.artifacts import Artifact
from tasks.environment import workspace
from tasks.reporting.blocks import Bounds, Cell
from tasks.reporting.config import ReportingConfig
from tasks.reporting.page import Section
from tasks.reporting.pictures import FAINT, INK, OURS, RIVALS, drawing
from tasks.reporting.safe_text import cut, visible
from tasks.reporting.task_verdict import spoken
from tasks.reporting.verdict import ALL_DOMAINS
from tasks.reporting.web_page import web_page
from tasks.representation.audit import RATE
from tasks.representation.compare import Change, Comparison, compare
from tasks.representation.corpus import read
from tasks.representation.former import previous

NAME, TITLE = "representation", "Who the text speaks of, since the corpus before"
NO_FORMER = "There is no earlier corpus to compare with."
OTHER_LISTS = "The corpus before was counted by other lists of words, so that the two cannot be compared."
_HEADINGS = ("measure", "of", "before", "now", "difference", "95 % interval", "in added", "in removed")

_DRAWN = 20
_LONGEST = 40


def show(evaluation: Artifact, publish: Callable[[str, str, str], None]) -> None:
    """Publish the comparison of an evaluation with the corpus before, or that there is none.

    Args:
        evaluation: a finished artefact.
        publish: takes a name, the page as HTML and its text as Markdown.
    """
    section, config = Section("Changes"), ReportingConfig()
    with tempfile.TemporaryDirectory(dir=workspace(), prefix=".pictures-") as folder:
        brief = since(section, evaluation, previous(evaluation), config, Path(folder))
        page = web_page(TITLE, brief, [section] if section.blocks else [], Path(folder))
    told = section.text(whole=False) if section.blocks else ""
    publish(NAME, page, f"# {TITLE}\n\n{brief}\n\n{told}".rstrip() + "\n")


def since(
    section: Section, now: Artifact, former: Artifact | None, config: ReportingConfig, folder: Path
) -> str:
    """Tell what changed, with pictures drawn into ``folder``; returns the whole of it in a line of running text."""
    if former is None:
        return NO_FORMER
    old, new = read(former.path), read(now.path)
    if old.counted_by != new.counted_by:
        return OTHER_LISTS
    found = compare(old, new)
    rates = [change for change in found.clear if change.metric == RATE]
    shares = [change for change in found.clear if change.metric != RATE]
    for name, changes, label in (
        ("since_rates.png", rates, "mentions per million words"),
        ("since_shares.png", shares, "share"),
    ):
        if changes:
            arrows(folder / name, changes[:_DRAWN], label, config.picture_dpi)
            section.picture(
                name, f"What changed most surely: {label}, before (hollow) and now, with the interval"
            )
    section.table(_HEADINGS, [_cells(change) for change in found.clear], config.rows_shown)
    rest = [_cells(change) for change in found.changes if not change.clear]
    section.table(_HEADINGS, rest, summary=f"The {len(rest):,} numbers whose difference chance explains")
    return summary(found)


def summary(found: Comparison) -> str:
    """A comparison in a line of running text."""
    clear, all_of_them = len(found.clear), len(found.changes)
    documents = (
        f"Of the documents of the corpus before, {found.kept:,} are in this one ({found.altered:,} of them say "
        f"something else), {found.removed:,} are gone and {found.added:,} are new; {found.words_before:,} words became "
        f"{found.words_now:,}."
    )
    if not clear:
        return f"{documents} None of {all_of_them:,} numbers changed by more than chance explains."
    return (
        f"{documents} {clear:,} of {all_of_them:,} numbers changed by more than chance explains; chance alone would "
        f"give up to {0.05 * all_of_them:.0f}. Documents are matched by id, and what both corpora hold cancels."
    )


def arrows(path: Path, changes: Sequence[Change], label: str, dpi: int) -> None:
    """One line for each change: before as a hollow dot, now as a full one, and the interval of the difference."""
    with drawing(path, 7.2, 1.0 + 0.26 * len(changes), dpi) as figure:
        axes = figure.subplots()
        for place, change in enumerate(changes):
            low, high = (change.before + (bound or 0.0) for bound in (change.gap.low, change.gap.high))
            axes.plot([low, high], [place, place], color=OURS, linewidth=5, alpha=0.25, solid_capstyle="butt")
            axes.plot([change.before, change.now], [place, place], color=INK, linewidth=1)
            axes.plot(
                change.before, place, "o", color=RIVALS[0], markerfacecolor="white", markersize=6, zorder=3
            )
            axes.plot(change.now, place, "o", color=OURS, markersize=6, zorder=3)
        axes.set_yticks(range(len(changes)), [_line(change) for change in changes])
        axes.set(xlabel=label, ylim=(len(changes) - 0.4, -0.6))
        if all(change.metric == RATE for change in changes):
            axes.set_xscale("symlog", linthresh=10)
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        ends = [change.before + max(change.gap.value, change.gap.high or 0.0, 0.0) for change in changes]
        axes.set_xlim(0, 1.1 * max(ends))
        axes.grid(axis="both", color=FAINT)


def _line(change: Change) -> str:
    what = _of(change) if change.metric == RATE else f"{spoken(change.metric)}, {_of(change)}"
    return cut(visible(what), _LONGEST)


def _cells(change: Change) -> tuple[Cell, ...]:
    gap, bounds = change.gap, None
    if gap.low is not None and gap.high is not None:
        # each on a scale of its own: rare and common groups on one would all lie at zero
        bounds = Bounds(_short(gap.low), _short(gap.high), _short(gap.value), 0.0, repr(change[:3]))
    numbers = (change.before, change.now, gap.value, change.added, change.removed)
    before, now, difference, added, removed = (None if x is None else _short(x) for x in numbers)
    return spoken(change.metric), _of(change), before, now, difference, bounds, added, removed


def _short(value: float) -> float:
    return float(round(value)) if abs(value) >= 1000 else value


def _of(change: Change) -> str:
    return change.condition if change.domain == ALL_DOMAINS else f"{change.condition}, {change.domain}"
