"""The quality rules of MassiveText (Rae et al. 2021, "Scaling Language Models: ... Gopher", section A.1.1).

Words are runs of letters and digits, as everywhere in this stage; the paper does not say what a word is.
"""

from __future__ import annotations

import re
from typing import ClassVar

from pydantic import Field, model_validator

from tasks.cleaning import gopher_repetition as repetition
from tasks.cleaning.page import Finding, Page
from tasks.cleaning.published import Maximum, PublishedRule, RuleGroup


class WordCount(PublishedRule):
    """Between 50 and 100,000 words (A.1.1, quality filtering)."""

    name: ClassVar[str] = "gopher-word-count"
    minimum: int = Field(default=50, ge=0, description="Fewest words.")
    maximum: int = Field(default=100_000, ge=1, description="Most words.")

    @model_validator(mode="after")
    def _bounds_agree(self) -> WordCount:
        if self.minimum > self.maximum:
            raise ValueError("minimum must not be above maximum")
        return self

    def check(self, page: Page) -> Finding | None:
        """Compare the number of words with its bounds."""
        count = len(page.words)
        if self.minimum <= count <= self.maximum:
            return None
        return Finding(self.name, f"{count} words, outside {self.minimum} to {self.maximum}", count)


class MeanWordLength(PublishedRule):
    """Words of 3 to 10 characters on average (A.1.1)."""

    name: ClassVar[str] = "gopher-word-length"
    minimum: float = Field(default=3.0, ge=0, description="Shortest mean length in characters.")
    maximum: float = Field(default=10.0, ge=1, description="Longest mean length in characters.")

    @model_validator(mode="after")
    def _bounds_agree(self) -> MeanWordLength:
        if self.minimum > self.maximum:
            raise ValueError("minimum must not be above maximum")
        return self

    def check(self, page: Page) -> Finding | None:
        """Compare the mean length of a word with its bounds."""
        mean = page.mean_word_length
        if self.minimum <= mean <= self.maximum:
            return None
        reason = f"words of {mean:.1f} characters on average, outside {self.minimum:g} to {self.maximum:g}"
        return Finding(self.name, reason, mean)


class Symbols(PublishedRule):
    """At most one hash sign, and at most one ellipsis, in ten words (A.1.1)."""

    name: ClassVar[str] = "gopher-symbols"
    maximum: float = Field(default=0.1, ge=0, le=100, description="Most signs of either kind for each word.")

    def check(self, page: Page) -> Finding | None:
        """Compare the more frequent of the two signs with the number of words."""
        signs = max(page.text.count("#"), page.text.count("...") + page.text.count("\u2026"))
        ratio = signs / max(1, len(page.words))
        if ratio <= self.maximum:
            return None
        return Finding(self.name, f"{signs} hash signs or ellipses in {len(page.words)} words", ratio)


class BulletLines(PublishedRule):
    """At most 90 % of the lines start with a bullet point (A.1.1).

    Which signs are bullets the paper does not say; a hyphen, an asterisk or a plus is one before a space.
    """

    name: ClassVar[str] = "gopher-bullet-lines"
    maximum: Maximum = 0.9

    def check(self, page: Page) -> Finding | None:
        """Compare the share of such lines with its maximum."""
        share = sum(map(bool, map(_BULLET.match, page.lines))) / max(1, len(page.lines))
        return self._above(share, self.maximum, "of the lines start with a bullet")


class EllipsisLines(PublishedRule):
    """At most 30 % of the lines end with an ellipsis: teasers of pages behind links (A.1.1)."""

    name: ClassVar[str] = "gopher-ellipsis-lines"
    maximum: Maximum = 0.3

    def check(self, page: Page) -> Finding | None:
        """Compare the share of such lines with its maximum."""
        share = sum(line.endswith(("...", "\u2026")) for line in page.lines) / max(1, len(page.lines))
        return self._above(share, self.maximum, "of the lines end with an ellipsis")


class AlphabeticWords(PublishedRule):
    """At least 80 % of the words hold a letter (A.1.1).

    Here a word is what stands between spaces, so that a table's bare signs count as words without a letter.
    """

    name: ClassVar[str] = "gopher-alphabetic-words"
    minimum: float = Field(default=0.8, ge=0, le=1, description="Smallest share of words with a letter.")

    def check(self, page: Page) -> Finding | None:
        """Compare the share of such words with its minimum; a text without words has nothing to object to."""
        tokens = page.text.split()
        mixed = [token for token in tokens if not token.isalpha()]
        without = sum(not any(map(str.isalpha, token)) for token in mixed)
        share = (len(tokens) - without) / max(1, len(tokens))
        if share >= self.minimum or not tokens:
            return None
        return Finding(
            self.name, f"{share:.1%} of the words hold a letter, fewer than {self.minimum:.1%}", share
        )


class StopWords(PublishedRule):
    """At least two of eight frequent English words, different ones (A.1.1)."""

    name: ClassVar[str] = "gopher-stop-words"
    minimum: int = Field(default=2, ge=0, le=1000, description="How many of the words must be there.")
    words: tuple[str, ...] = Field(
        default=("the", "be", "to", "of", "and", "that", "have", "with"),
        min_length=1,
        description="The words, in lower case; give those of your language.",
    )

    def check(self, page: Page) -> Finding | None:
        """Count which of the words are there."""
        found = len(set(self.words).intersection(page.words))
        if found >= self.minimum:
            return None
        return Finding(
            self.name, f"{found} of {len(self.words)} stop words, fewer than {self.minimum}", found
        )


class GopherRules(RuleGroup):
    """Rae et al. 2021, section A.1.1: quality, and table A1: repetition."""

    word_count: WordCount = Field(default=WordCount(), description="Number of words.")
    word_length: MeanWordLength = Field(default=MeanWordLength(), description="Mean length of a word.")
    symbols: Symbols = Field(default=Symbols(), description="Hash signs and ellipses for each word.")
    bullet_lines: BulletLines = Field(default=BulletLines(), description="Lines that start with a bullet.")
    ellipsis_lines: EllipsisLines = Field(default=EllipsisLines(), description="Lines that break off.")
    alphabetic_words: AlphabeticWords = Field(default=AlphabeticWords(), description="Words with a letter.")
    stop_words: StopWords = Field(default=StopWords(), description="Frequent words of the language.")
    duplicate_lines: repetition.DuplicateLines = Field(
        default=repetition.DuplicateLines(), description="Lines that stood before."
    )
    duplicate_paragraphs: repetition.DuplicateParagraphs = Field(
        default=repetition.DuplicateParagraphs(), description="Paragraphs that stood before."
    )
    duplicate_line_characters: repetition.DuplicateLineCharacters = Field(
        default=repetition.DuplicateLineCharacters(), description="Characters in lines that stood before."
    )
    duplicate_paragraph_characters: repetition.DuplicateParagraphCharacters = Field(
        default=repetition.DuplicateParagraphCharacters(),
        description="Characters in paragraphs that stood before.",
    )
    top_2_gram: repetition.Top2Gram = Field(
        default=repetition.Top2Gram(), description="The most frequent pair of words."
    )
    top_3_gram: repetition.Top3Gram = Field(
        default=repetition.Top3Gram(), description="The most frequent three words in a row."
    )
    top_4_gram: repetition.Top4Gram = Field(
        default=repetition.Top4Gram(), description="The most frequent four words in a row."
    )
    duplicate_5_grams: repetition.Duplicate5Grams = Field(
        default=repetition.Duplicate5Grams(), description="Five words in a row that stood before."
    )
    duplicate_6_grams: repetition.Duplicate6Grams = Field(
        default=repetition.Duplicate6Grams(), description="Six words in a row that stood before."
    )
    duplicate_7_grams: repetition.Duplicate7Grams = Field(
        default=repetition.Duplicate7Grams(), description="Seven words in a row that stood before."
    )
    duplicate_8_grams: repetition.Duplicate8Grams = Field(
        default=repetition.Duplicate8Grams(), description="Eight words in a row that stood before."
    )
    duplicate_9_grams: repetition.Duplicate9Grams = Field(
        default=repetition.Duplicate9Grams(), description="Nine words in a row that stood before."
    )
    duplicate_10_grams: repetition.Duplicate10Grams = Field(
        default=repetition.Duplicate10Grams(), description="Ten words in a row that stood before."
    )


_BULLET = re.compile(
    r"[\u2022\u2023\u2043\u204c\u204d\u2219\u25a0\u25a1\u25aa\u25ab\u25cb\u25cf\u25e6\u00b7]|[-*+](?=\s|$)"
)
