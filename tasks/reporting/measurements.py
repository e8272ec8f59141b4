"""Numbers as they are in the records, so that a new measure appears in the report without code."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tasks.reporting import examples
from tasks.reporting.blocks import Cell
from tasks.reporting.config import ReportingConfig
from tasks.reporting.page import Section
from tasks.reporting.sources import Evidence, Row
from tasks.reporting.task_verdict import TASKS, spoken
from tasks.reporting.verdict import ALL_DOMAINS, estimate, model_names

# Measures that other sections show, by suite; of all others every row is listed.
_ELSEWHERE = {
    "language_modelling": {
        "bits_per_byte",
        "bits_per_byte_difference",
        "masked_loss",
        "masked_loss_difference",
    },
    "generation": {"repetition_4", "distinct_2"},
    "test_set": {"documents", "tokens", "bytes"},
}
BIAS = ("crows_pairs", "winobias", "identity_swaps")
EXAMINATIONS = {
    "toxicity": "Toxicity",
    "memorisation": "What it remembers word for word",
    "explanation": "Which words its decisions rest on",
    "cost": "What it cost",
}
_OF_THEIR_OWN = {*TASKS, *BIAS, *EXAMINATIONS, "representation"}
_FOLDED = 1000  # rows of a table that takes no room
_HEADINGS = ("measure", "of", "less", "setting", "value", "95 % interval", "n", "unit", "how")


def examination(evidence: Evidence, suite: str, config: ReportingConfig) -> Section | None:
    """All numbers and examples of one examination; nothing where it was not made."""
    section = Section(EXAMINATIONS[suite])
    listing(section, evidence.of_suite(suite), config)
    examples.show(section, evidence.shown.get(suite), config)
    return section if section.blocks else None


def others(evidence: Evidence, config: ReportingConfig) -> Section | None:
    """Every number that no other section shows."""
    rows = [row for row in evidence.records if row["suite"] not in _OF_THEIR_OWN]
    rows = [row for row in rows if row["metric"] not in _ELSEWHERE.get(row["suite"], ())]
    section = Section("More measurements")
    for suite in dict.fromkeys(row["suite"] for row in rows):
        part = Section(suite)
        listing(part, [row for row in rows if row["suite"] == suite], config)
        section.say(f"*{examples.title(suite)}*")
        section.take(part)
    return section if section.blocks else None


def listing(section: Section, rows: Sequence[Row], config: ReportingConfig, summary: str = "") -> None:
    """A table of records, folded if it has a summary; a column in which nothing stands is left out."""
    cells = [_cells(row) for row in rows]
    kept = [at for at in range(len(_HEADINGS)) if any(row[at] not in ("", None) for row in cells)]
    section.table(
        [_HEADINGS[at] for at in kept],
        [[row[at] for at in kept] for row in cells],
        _FOLDED if summary else config.rows_shown,
        summary,
    )


def rest(section: Section, rows: Sequence[Row], config: ReportingConfig) -> None:
    """Records that no other table of the section shows, folded away."""
    if rows:
        listing(section, rows, config, f"All other numbers of it: parts, counts, controls ({len(rows):,})")


def _cells(row: Row) -> tuple[Cell, ...]:
    setting = [spoken(row["condition"] or ""), "" if row["domain"] == ALL_DOMAINS else row["domain"]]
    mark = 0.0 if row["baseline"] else None
    names = (spoken(row["metric"]), named(row["model"] or ""), named(row["baseline"] or ""))
    value, bounds = estimate(row, mark)
    if bounds is None and 2 <= row["value"] < 1e12 and float(row["value"]).is_integer():
        value = int(row["value"])  # a count
    return (*names, _joined(setting), value, bounds, row["n"], row["unit"], row["method"])


def named(model: str) -> str:
    """A model or baseline in words."""
    known = model_names(model)
    return spoken(model) if known == model else known


def _joined(parts: Iterable[str]) -> str:
    return ", ".join(part for part in parts if part)
