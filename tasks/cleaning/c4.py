"""The rules of C4 (Raffel et al. 2020, section 2.2): some take lines out, the others judge what is left.

Thresholds are those of the journal's text and of the published code (tensorflow_datasets, `c4_utils.py`): lines of
5 words, pages of 3 sentences. The first preprint had 3 words and 5 sentences, and some later code follows it. What the
code does beyond the text (endless words, ellipses) is here as well. Two things are not: the list of bad words, which
takes text by and about minorities more often than other text (Dodge et al. 2021), and the removal of Wikipedia's
reference marks, which judges nothing.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections import Counter
from typing import ClassVar

from pydantic import Field

from tasks.cleaning.page import Finding, Page
from tasks.cleaning.published import PublishedRule, RuleGroup
from tasks.config import StageConfig


class LineRule(StageConfig):
    """A rule that takes single lines out; it looks at nothing but the line."""

    name: ClassVar[str]
    enabled: bool = Field(default=True, description="Whether lines are held against this rule.")

    @abstractmethod
    def refuses(self, line: str) -> bool:
        """Whether a line that is not empty has to go."""


class WordLength(LineRule):
    """Lines with a word of more than 1,000 characters go: encoded data (code only)."""

    name: ClassVar[str] = "c4-word-length"
    maximum: int = Field(default=1000, ge=1, description="Most characters between two spaces.")

    def refuses(self, line: str) -> bool:
        """Look for a longer word."""
        return len(line) > self.maximum and any(len(word) > self.maximum for word in line.split())


class TerminalPunctuation(LineRule):
    """Lines stay that end in a full stop, an exclamation or question mark or a closing quotation mark.

    An ellipsis is no such end: what breaks off is a teaser (code only).
    """

    name: ClassVar[str] = "c4-terminal-punctuation"

    def refuses(self, line: str) -> bool:
        """Look at the end of the line."""
        end = line.rstrip()
        return not end.endswith((".", "!", "?", '"')) or end.endswith("...")


class WordsPerLine(LineRule):
    """Lines of fewer than 5 words go."""

    name: ClassVar[str] = "c4-words-per-line"
    minimum: int = Field(default=5, ge=0, le=1000, description="Fewest words of a line, between spaces.")

    def refuses(self, line: str) -> bool:
        """Count the words."""
        return len(line.split(maxsplit=self.minimum)) < self.minimum


class JavascriptLines(LineRule):
    """Lines that name Javascript go: mostly requests to switch it on."""

    name: ClassVar[str] = "c4-javascript"

    def refuses(self, line: str) -> bool:
        """Look for the word in any case."""
        return "javascript" in line.lower()


class PolicyLines(LineRule):
    """Lines about terms of use, privacy and cookies go."""

    name: ClassVar[str] = "c4-policy"

    def refuses(self, line: str) -> bool:
        """Look for one of the phrases in any case."""
        line = line.lower()
        return any(phrase in line for phrase in _POLICY)


class LoremIpsum(PublishedRule):
    """Pages with the phrase "lorem ipsum" go."""

    name: ClassVar[str] = "c4-lorem-ipsum"

    def check(self, page: Page) -> Finding | None:
        """Look for the phrase in any case."""
        count = page.text.lower().count("lorem ipsum")
        return Finding(self.name, "holds the phrase lorem ipsum", count) if count else None


class CurlyBracket(PublishedRule):
    """Pages with a curly bracket go: they hold code."""

    name: ClassVar[str] = "c4-curly-bracket"

    def check(self, page: Page) -> Finding | None:
        """Look for an opening bracket."""
        count = page.text.count("{")
        return Finding(self.name, f"holds {count} curly brackets", count) if count else None


class Sentences(PublishedRule):
    """Pages of fewer than 3 sentences go.

    A sentence ends with its mark before a space, or with its line; the code asks a trained splitter.
    """

    name: ClassVar[str] = "c4-sentences"
    minimum: int = Field(default=3, ge=0, le=100_000, description="Fewest sentences.")

    def check(self, page: Page) -> Finding | None:
        """Count the ends of sentences."""
        count = sum(max(1, len(_SENTENCE_END.findall(line))) for line in page.lines)
        return (
            Finding(self.name, f"{count} sentences, fewer than {self.minimum}", count)
            if count < self.minimum
            else None
        )


class C4Rules(RuleGroup):
    """Raffel et al. 2020, section 2.2. The rules for pages see what the rules for lines have left."""

    word_length: WordLength = Field(default=WordLength(), description="Lines with an endless word.")
    terminal_punctuation: TerminalPunctuation = Field(
        default=TerminalPunctuation(), description="Lines that do not end as a sentence does."
    )
    words_per_line: WordsPerLine = Field(default=WordsPerLine(), description="Lines of few words.")
    javascript: JavascriptLines = Field(default=JavascriptLines(), description="Lines that name Javascript.")
    policy: PolicyLines = Field(default=PolicyLines(), description="Lines about terms, privacy and cookies.")
    lorem_ipsum: LoremIpsum = Field(default=LoremIpsum(), description="Placeholder text.")
    curly_bracket: CurlyBracket = Field(default=CurlyBracket(), description="Code.")
    sentences: Sentences = Field(default=Sentences(), description="Number of sentences.")

    def line_rules(self) -> tuple[LineRule, ...]:
        """The rules for lines that are on, in the order of the published code."""
        fields = [getattr(self, field) for field in type(self).model_fields]
        return tuple(rule for rule in fields if isinstance(rule, LineRule) and rule.enabled)


def edit(text: str, config: C4Rules) -> tuple[str, Counter[str]]:
    """A text without the lines that a rule refuses, and how many lines each rule took.

    A line counts under the first rule that refuses it; empty lines stay, never two in a row. A text in the
    standard form stays in it, and a second edit finds nothing.
    """
    rules, removed, kept = config.line_rules(), Counter[str](), []
    for line in text.split("\n"):
        refusing = next((rule.name for rule in rules if rule.refuses(line)), "") if line.strip() else ""
        if refusing:
            removed[refusing] += 1
        else:
            kept.append(line)
    if not removed:
        return text, removed
    return _EMPTY_LINES.sub("\n\n", "\n".join(kept)).strip("\n "), removed


_POLICY = (
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
)
_EMPTY_LINES = re.compile(r"\n{3,}")
# A run of marks is one end, with the quotes and brackets that close after it; it starts where no mark stands before,
# so that a long run is read once.
_SENTENCE_END = re.compile(r"(?<![.!?])[.!?]++[\"')\]]*+(?=\s|$)")
