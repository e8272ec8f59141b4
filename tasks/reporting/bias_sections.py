"""Bias, always beside its measured null: what something without the bias scores on the same items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tasks.reporting import examples
from tasks.reporting.blocks import Cell, figure
from tasks.reporting.config import ReportingConfig
from tasks.reporting.contamination_note import contamination
from tasks.reporting.measurements import BIAS, named, rest
from tasks.reporting.page import Section
from tasks.reporting.safe_text import safe
from tasks.reporting.sources import Evidence, Row
from tasks.reporting.task_verdict import DIFFERENCE, spoken
from tasks.reporting.verdict import ALL_DOMAINS, estimate

_EVERYTHING = "all"
_UNREADABLE = "interpretable"  # a record that is 0 where the model does not understand the items
_Place = tuple[str, str, str]


@dataclass(frozen=True)
class Leaning:
    """A measure of the model with its null and the paired difference to that, where there are any."""

    ours: Row
    null: Row | None
    gap: Row | None

    @property
    def level(self) -> float | None:
        """The null's value."""
        return None if self.null is None else float(self.null["value"])


def bias(evidence: Evidence, config: ReportingConfig) -> Section | None:
    """Every bias measure with its interval and its null; nothing where none was taken."""
    section = Section("Bias")
    if evidence.suites.intersection(BIAS):
        section.say(
            "An unbiased model need not score evenly: one word of a pair may be rarer than the other. So the",
            "null is measured, on the same items: what word frequency, the same words elsewhere, or words that",
            "name nobody score. It is the tick in the drawn intervals. A difference whose interval leaves out 0",
            "is a leaning of the model on these items; whether people would be harmed by it, it does not say.",
        )
    for suite in BIAS:
        _suite(section, evidence, suite, config)
    return section if section.blocks else None


def _suite(section: Section, evidence: Evidence, suite: str, config: ReportingConfig) -> None:
    rows, shown = evidence.of_suite(suite), _shown(evidence, suite)
    if not rows and not shown:
        return
    found = leanings(rows)
    section.say(f"**{safe(spoken(suite))}.**", *_sentences(rows, found), *contamination(evidence, suite))
    section.table(
        (
            "measure",
            "group",
            "our model",
            "95 % interval",
            "null",
            "which null",
            "difference",
            "95 % interval",
            "items",
        ),
        [_line(each) for each in found],
        config.rows_shown,
    )
    used = {id(row) for each in found for row in (each.ours, each.null, each.gap)}
    rest(section, [row for row in rows if id(row) not in used], config)
    examples.show(section, shown, config)


def leanings(rows: list[Row]) -> list[Leaning]:
    """The model's measures that have a null. Of several, the one that the difference comes last to."""
    nulls: dict[_Place, dict[str, Row]] = {}
    gaps: dict[_Place, Row] = {}
    for row in rows:
        if row["baseline"]:
            gaps[_place(row)] = row
        elif row["model"] != "model":
            nulls.setdefault(_place(row), {})[row["model"]] = row
    found = []
    for row in rows:
        there = nulls.get(_place(row), {})
        if row["model"] == "model" and not row["baseline"] and there:
            gap = gaps.get((row["metric"] + DIFFERENCE, *_place(row)[1:]))
            name = gap["baseline"] if gap is not None and gap["baseline"] in there else list(there)[-1]
            found.append(Leaning(row, there[name], gap if gap and gap["baseline"] == name else None))
    return found


def _sentences(rows: list[Row], found: list[Leaning]) -> list[str]:
    """What the first measure of each setting says over all items, and where it means nothing."""
    first: dict[str, Leaning] = {}
    for each in found:
        if each.ours["domain"] == ALL_DOMAINS:
            first.setdefault(each.ours["condition"] or "", each)
    unread = [row for row in rows if row["metric"] == _UNREADABLE and row["value"] == 0]
    return [bias_verdict(each) for each in first.values()] + [
        f"**Not to be interpreted**: {safe(row['method'])}." for row in unread
    ]


def bias_verdict(found: Leaning) -> str:
    """Where a measure stands to its null: by the paired difference if there is one, else by its interval."""
    ours, level = found.ours, found.level
    setting = f" ({safe(spoken(ours['condition']))})" if ours["condition"] else ""
    score = f"{safe(spoken(ours['metric']))}{setting}: {figure(ours['value'])} on {ours['n']:,} items"
    if found.null is None or level is None:
        return f"{score}; no null was measured, so this says nothing about a leaning."
    against = f"{score} against the null's {figure(level)} ({safe(named(found.null['model']))})"
    judged, at = (found.gap, 0.0) if found.gap is not None else (ours, level)
    low, high = judged["low"], judged["high"]
    if low is None or high is None:
        return f"{against}; without an interval this decides nothing."
    what = "difference" if found.gap is not None else "score"
    interval = f"{what} {figure(judged['value'])}, 95 % interval {figure(low)} to {figure(high)}"
    side = "above" if low > at else "below" if high < at else ""
    if not side:
        return f"{against}, {interval}: not told apart from the null, undecided."
    return f"{against}, {interval}: **{side} the null**."


def _line(found: Leaning) -> tuple[Cell, ...]:
    ours = found.ours
    group = [row for row in (ours["domain"], spoken(ours["condition"] or "")) if row and row != ALL_DOMAINS]
    which = None if found.null is None else named(found.null["model"])
    name = ", ".join(group) or _EVERYTHING
    null = (found.level, which)
    gap = estimate(found.gap, mark=0.0)
    return spoken(ours["metric"]), name, *estimate(ours, found.level), *null, *gap, ours["n"]


def _shown(evidence: Evidence, suite: str) -> Any:
    """What the examination of one suite gave to be looked at, under its own name or that of its examination."""
    for place in (evidence.shown, evidence.shown.get("bias"), evidence.shown.get("swaps")):
        if isinstance(place, dict) and place.get(suite):
            return place[suite]
    return evidence.shown.get("swaps") if suite == "identity_swaps" else None


def _place(row: Row) -> _Place:
    return row["metric"], row["domain"], row["condition"] or ""
