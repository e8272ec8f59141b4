"""What the model was taught with labels, and how it does beside simple ways of doing the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tasks import tables
from tasks.reporting import examples
from tasks.reporting.blocks import Cell
from tasks.reporting.config import ReportingConfig
from tasks.reporting.contamination_note import contamination
from tasks.reporting.finetuning_picture import finetuning_curve
from tasks.reporting.measurements import rest
from tasks.reporting.page import Section
from tasks.reporting.safe_text import safe
from tasks.reporting.sources import Evidence, Row
from tasks.reporting.task_verdict import (
    DIFFERENCE,
    TASKS,
    against_each,
    contest,
    overall,
    spoken,
    standing_of,
    task_verdict,
)
from tasks.reporting.verdict import estimate


def tasks(evidence: Evidence, config: ReportingConfig, folder: Path) -> list[Section]:
    """A section for every task that was taught or scored."""
    found = []
    for suite, title in TASKS.items():
        section = Section(title)
        for part in (_scores, _taught, _examples):
            part(section, evidence, suite, config, folder)
        if section.blocks:
            found.append(section)
    return found


def _scores(section: Section, evidence: Evidence, suite: str, config: ReportingConfig, _folder: Path) -> None:
    """The verdict, every measure of every contender, and whatever else was measured."""
    rows = overall(evidence, suite)
    if found := contest(evidence, suite):
        section.say(task_verdict(found))
        if told := against_each(evidence, suite, found.metric):
            section.say(*told)
        section.say(
            "Simple ways learnt from the same training rows and are judged on the same test items; more is",
            "better. The difference is ours less theirs, its interval paired.",
        )
    if rows and (told := contamination(evidence, suite)):
        section.say(*told)
    gaps = {(row["metric"], row["baseline"]): row for row in rows if row["metric"].endswith(DIFFERENCE)}
    contested = {metric.removesuffix(DIFFERENCE) for metric, _ in gaps}
    plain = [row for row in rows if not row["baseline"] and (not contested or row["metric"] in contested)]
    section.table(
        ("measure", "who", "value", "95 % interval", "difference", "95 % interval", "ours is", "items"),
        [_contender(row, gaps.get((row["metric"] + DIFFERENCE, row["model"]))) for row in plain],
        config.rows_shown,
    )
    paired = {(row["metric"] + DIFFERENCE, row["model"]) for row in plain}
    shown = {id(row) for row in plain} | {id(row) for key, row in gaps.items() if key in paired}
    rest(section, [row for row in evidence.of_suite(suite) if id(row) not in shown], config)


def _contender(row: Row, gap: Row | None) -> tuple[Cell, ...]:
    standing = standing_of(gap) if gap else None
    names = (spoken(row["metric"]), spoken(row["model"]))
    return (*names, *estimate(row), *estimate(gap, mark=0.0), standing, row["n"])


def _taught(section: Section, evidence: Evidence, suite: str, config: ReportingConfig, folder: Path) -> None:
    """What it learnt from, for how long, and the curve."""
    stage = f"finetuning-{suite.replace('_', '-')}"
    if stage not in evidence.artifacts:
        return
    summary = evidence.summary(stage)
    section.say(*_in_words(summary))
    ends = [("training loss, mean of the last steps", summary.get("training_loss"))]
    validation = summary.get("validation") or {}
    ends += [(f"validation {spoken(name)}", value) for name, value in sorted(validation.items())]
    section.table(("where its training ended", "value"), [end for end in ends if end[1] is not None])
    curves = evidence.optional(stage, "curves.parquet")
    rows = [] if curves is None else tables.read_arrow(curves).to_pylist()
    if finetuning_curve(folder / f"{stage}.png", rows, config.picture_dpi):
        section.picture(f"{stage}.png", f"{TASKS[suite]}: loss and validation over the steps of fine-tuning")


def _in_words(summary: Row) -> list[str]:
    """The course of a fine-tuning; facts that its summary lacks are left out."""
    forms: tuple[tuple[str, Callable[[float], str]], ...] = (
        ("examples", lambda n: f"It was fine-tuned on {n:,} labelled examples."),
        ("steps", lambda n: f"That took {n:,} steps."),
        ("epochs", lambda n: f"Each example was seen {n:.2f} times on average."),
        ("left_out", lambda n: f"{n:,} training rows did not fit the model and were left out." if n else ""),
    )
    said = [form(summary[name]) for name, form in forms if isinstance(summary.get(name), int | float)]
    return [safe(sentence) for sentence in said if sentence] or ["It was fine-tuned for this task."]


def _examples(
    section: Section, evidence: Evidence, suite: str, config: ReportingConfig, _folder: Path
) -> None:
    examples.show(section, evidence.shown.get(suite), config)
