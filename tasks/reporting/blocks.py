"""The parts of a page. Each holds what it says once; Markdown is written here, HTML by the page's template.

Running text is a line of Markdown of which words of the data went through `safe_text.safe`; `inline` turns the
same line into HTML. Words in a table, a card or a marked text are plain and are escaped where they are written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from tasks.reporting.attribution_html import merged
from tasks.reporting.safe_text import safe


@dataclass(frozen=True)
class Bounds:
    """The ends of a 95 % interval, in HTML also drawn; ``mark`` is a number to hold it against, such as 0.

    Intervals of a column are drawn on one scale if they have the same ``scale``.
    """

    low: float
    high: float
    value: float
    mark: float | None = None
    scale: str = ""

    def __str__(self) -> str:
        return f"{figure(self.low)} to {figure(self.high)}"


Cell = str | int | float | Bounds | None


@dataclass(frozen=True)
class Paragraph:
    """A line of running text."""

    kind: ClassVar[str] = "paragraph"
    text: str

    def markdown(self) -> list[str]:
        """The paragraph and an empty line."""
        return [self.text, ""]


@dataclass(frozen=True)
class Quote:
    """Lines that are quoted, each of them running text."""

    kind: ClassVar[str] = "quote"
    lines: tuple[str, ...]

    def markdown(self) -> list[str]:
        """The lines as one quotation."""
        return [f"> {'<br> '.join(self.lines)}", ""]


@dataclass(frozen=True)
class Items:
    """A list of sentences, each of them running text."""

    kind: ClassVar[str] = "items"
    sentences: tuple[str, ...]

    def markdown(self) -> list[str]:
        """One line an item."""
        return [*(f"- {sentence}" for sentence in self.sentences), ""]


@dataclass(frozen=True)
class Table:
    """Rows under headings; numbers stand to the right. With a ``summary``, HTML shows that and unfolds the rest."""

    kind: ClassVar[str] = "table"
    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    summary: str = ""

    @property
    def numeric(self) -> list[bool]:
        """Which columns hold nothing but numbers."""
        return [
            all(not isinstance(row[at], str | Bounds) for row in self.rows)
            for at in range(len(self.headings))
        ]

    def markdown(self) -> list[str]:
        """A pipe table, every word escaped."""
        rule = "|".join(" ---: " if number else " --- " for number in self.numeric)
        above = [f"{safe(self.summary)}:", ""] if self.summary else []
        return [*above, _row(self.headings), f"|{rule}|", *map(_row, self.rows), ""]


@dataclass(frozen=True)
class Picture:
    """A picture that lies beside the report."""

    kind: ClassVar[str] = "picture"
    name: str
    caption: str

    def markdown(self) -> list[str]:
        """A reference to the file."""
        return [f"![{safe(self.caption)}]({self.name})", ""]


@dataclass(frozen=True)
class Card:
    """One of the main numbers. ``standing`` is better, worse, undecided or nothing."""

    label: str
    value: str
    note: str = ""
    standing: str = ""


@dataclass(frozen=True)
class Cards:
    """The main numbers side by side."""

    kind: ClassVar[str] = "cards"
    cards: tuple[Card, ...]

    def markdown(self) -> list[str]:
        """A table with a row for each."""
        rows = tuple((card.label, card.value, card.standing, card.note) for card in self.cards)
        return Table(("what", "value", "standing", "about it"), rows).markdown()


@dataclass(frozen=True)
class Marked:
    """A text in pieces, each with what it contributed; HTML colours them."""

    kind: ClassVar[str] = "marked"
    pieces: tuple[str, ...]
    scores: tuple[float, ...]

    def markdown(self) -> list[str]:
        """Every piece with its score behind it."""
        pieces = merged(self.pieces, self.scores)
        return [f"> {' '.join(f'“{safe(piece)}” ({score:+.2f})' for piece, score in pieces)}", ""]


@dataclass(frozen=True)
class Examples:
    """Blocks that illustrate; a model card, which others read, goes without them."""

    kind: ClassVar[str] = "examples"
    blocks: tuple[Block, ...]

    def markdown(self) -> list[str]:
        """One block after the other."""
        return [line for block in self.blocks for line in block.markdown()]


Block: TypeAlias = Paragraph | Quote | Items | Table | Picture | Cards | Marked | Examples


def plain(value: Cell) -> str:
    """What stands in a cell, not yet escaped: whole numbers grouped, a dash for none."""
    if value is None:
        return "–"
    if isinstance(value, str | Bounds):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else figure(value)


def cell(value: Cell) -> str:
    """One cell of a Markdown table."""
    return safe(plain(value)) or " "


def figure(value: float) -> str:
    """A fraction with three digits; large counts without, and powers of ten for the very large and very small."""
    size = abs(value)
    if size >= 1e12 or 0 < size < 0.0005:
        return f"{value:.2e}"
    return f"{value:,.0f}" if size >= 1000 and float(value).is_integer() else f"{value:,.3f}"


def _row(cells: Sequence[Cell]) -> str:
    return f"| {' | '.join(map(cell, cells))} |"
