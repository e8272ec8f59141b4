"""The rules that FineWeb added to those of MassiveText and C4 (Penedo et al. 2024, section 3.6).

Thresholds are the paper's. The published code (datatrove) sets another for duplicated lines, 0.01 in place of 0.1.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from tasks.cleaning.page import Finding, Page
from tasks.cleaning.published import Ceiling, PublishedRule, RuleGroup

ENDS = (".", "!", "?", '"', "'", "\u2026")
"""What a line may end in to count as one of prose; typographic quotes are plain ones by now."""


class LinePunctuation(PublishedRule):
    """A document of which 12 % of the lines or fewer end in punctuation goes: menus, lists, listings."""

    name: ClassVar[str] = "fineweb-line-punctuation"
    threshold: float = Field(
        default=0.12,
        ge=0,
        le=1,
        description="Share of lines up to which, this one included, a document goes.",
    )

    def check(self, page: Page) -> Finding | None:
        """Compare the share of lines that end in punctuation with the threshold."""
        share = sum(line.endswith(ENDS) for line in page.lines) / max(1, len(page.lines))
        if share > self.threshold or not page.lines:
            return None
        return Finding(self.name, f"{share:.1%} of the lines end in punctuation", share)


class DuplicateLineCharacters(PublishedRule):
    """A document with a tenth of its characters or more in lines that stood before goes."""

    name: ClassVar[str] = "fineweb-duplicate-line-characters"
    threshold: Ceiling = 0.1

    def check(self, page: Page) -> Finding | None:
        """Compare the share of characters in repeated lines with the threshold."""
        share = page.repeated_lines.characters
        return (
            Finding(self.name, f"{share:.1%} of the text in repeated lines", share)
            if share >= self.threshold
            else None
        )


class ShortLines(PublishedRule):
    """A document of which 67 % of the lines or more are shorter than 30 characters goes."""

    name: ClassVar[str] = "fineweb-short-lines"
    length: int = Field(default=30, ge=1, le=10_000, description="Characters from which a line is not short.")
    threshold: Ceiling = 0.67

    def check(self, page: Page) -> Finding | None:
        """Compare the share of short lines with the threshold."""
        share = sum(len(line) < self.length for line in page.lines) / max(1, len(page.lines))
        if share < self.threshold:
            return None
        return Finding(
            self.name, f"{share:.1%} of the lines are shorter than {self.length} characters", share
        )


class FineWebRules(RuleGroup):
    """Penedo et al. 2024, section 3.6: the three filters chosen by their effect on trained models."""

    line_punctuation: LinePunctuation = Field(
        default=LinePunctuation(), description="Lines that end in punctuation."
    )
    duplicate_line_characters: DuplicateLineCharacters = Field(
        default=DuplicateLineCharacters(), description="Characters in lines that stood before."
    )
    short_lines: ShortLines = Field(default=ShortLines(), description="Lines that are short.")
