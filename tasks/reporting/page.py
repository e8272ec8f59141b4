"""A report is a list of sections, and a section a list of blocks: one content for Markdown, HTML and the card."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from tasks.reporting.blocks import (
    Block,
    Card,
    Cards,
    Cell,
    Examples,
    Items,
    Marked,
    Paragraph,
    Picture,
    Quote,
    Table,
)

_UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


@dataclass
class Section:
    """One heading and what stands under it."""

    title: str
    blocks: list[Block] = field(default_factory=list)

    @property
    def anchor(self) -> str:
        """What a link to this section is called."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")

    def say(self, *sentences: str) -> None:
        """A paragraph of running text."""
        self.blocks.append(Paragraph(" ".join(sentences)))

    def quote(self, *lines: str) -> None:
        """A quotation, line by line."""
        self.blocks.append(Quote(lines))

    def table(
        self,
        headings: Sequence[str],
        rows: Sequence[Sequence[Cell]],
        longest: int = 1000,
        summary: str = "",
    ) -> None:
        """A table. More than ``longest`` rows are counted, not shown; with a ``summary`` it is folded in HTML."""
        if not rows:
            return
        self.blocks.append(Table(tuple(headings), tuple(tuple(row) for row in rows[:longest]), summary))
        if len(rows) > longest:
            self.say(f"{len(rows) - longest:,} more rows are not shown.")

    def items(self, sentences: Sequence[str]) -> None:
        """A list."""
        self.blocks.append(Items(tuple(sentences)))

    def picture(self, name: str, caption: str) -> None:
        """A picture that lies beside the report."""
        self.blocks.append(Picture(name, caption))

    def cards(self, cards: Sequence[Card]) -> None:
        """The main numbers side by side."""
        self.blocks.append(Cards(tuple(cards)))

    def marked(self, pieces: Sequence[str], scores: Sequence[float]) -> None:
        """A text whose pieces are coloured by their scores."""
        self.blocks.append(Marked(tuple(pieces), tuple(scores)))

    def illustrate(self, examples: Section) -> None:
        """What stands under another heading, as examples."""
        if examples.blocks:
            self.blocks.append(Examples(tuple(examples.blocks)))

    def take(self, other: Section) -> None:
        """Go on with what stands under another heading."""
        self.blocks += other.blocks

    def text(self, *, whole: bool = True) -> str:
        """The section as Markdown; if not the whole, without pictures, examples and folded tables."""
        shown = (block for block in self.blocks if whole or not _aside(block))
        lines = [line for block in shown for line in block.markdown()]
        return "\n".join([f"## {self.title}", "", *lines])


def _aside(block: Block) -> bool:
    return isinstance(block, Picture | Examples) or (isinstance(block, Table) and bool(block.summary))


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
