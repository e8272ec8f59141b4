"""The few forms of Markdown a report is made of. Words in a table are escaped here; prose escapes its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tasks.reporting.safe_text import safe

Cell = str | int | float | None
_UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


@dataclass
class Section:
    """One heading and what stands under it."""

    title: str
    lines: list[str] = field(default_factory=list)

    def say(self, *sentences: str) -> None:
        """A paragraph."""
        self.lines += [" ".join(sentences), ""]

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[Cell]], longest: int = 1000) -> None:
        """A table; numbers stand to the right. More than ``longest`` rows are counted, not shown."""
        if not rows:
            return
        numeric = [all(not isinstance(row[at], str) for row in rows) for at in range(len(headings))]
        self.lines.append("| " + " | ".join(headings) + " |")
        self.lines.append("|" + "|".join(" ---: " if number else " --- " for number in numeric) + "|")
        self.lines += ["| " + " | ".join(map(cell, row)) + " |" for row in rows[:longest]]
        self.lines.append("")
        if len(rows) > longest:
            self.say(f"{len(rows) - longest:,} more rows are not shown.")

    def items(self, sentences: Sequence[str]) -> None:
        """A list."""
        self.lines += [f"- {sentence}" for sentence in sentences]
        self.lines.append("")

    def picture(self, name: str, caption: str) -> None:
        """A picture that lies beside the report."""
        self.lines += [f"![{caption}]({name})", ""]

    def text(self) -> str:
        """The section as Markdown."""
        return "\n".join([f"## {self.title}", "", *self.lines])


def cell(value: Cell) -> str:
    """One cell: words escaped, whole numbers grouped, fractions with three digits, a dash for none."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return safe(value) or " "
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3f}"


def size(count: float) -> str:
    """Bytes for people, in powers of ten."""
    for factor, unit in _UNITS:
        if count >= factor:
            return f"{count / factor:,.1f} {unit}"
    return f"{count:,.0f} B"


def amount(count: float) -> str:
    """A large number for people: 2.4 million."""
    for factor, word in ((1e9, "billion"), (1e6, "million")):
        if count >= factor:
            return f"{count / factor:,.1f} {word}"
    return f"{count:,.0f}"


def percent(part: float, whole: float) -> str:
    """A share for people; a dash when there is no whole."""
    return f"{100 * part / whole:.1f} %" if whole else "–"
