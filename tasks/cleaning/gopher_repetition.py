"""The repetition rules of MassiveText (Rae et al. 2021, section A.1.1 and the thresholds of table A1).

Of equal lines, paragraphs or n-grams the first is no duplicate; a character that stands in several n-grams counts
once. Shares of n-grams are of the characters in words.
"""

from __future__ import annotations

from typing import ClassVar

from tasks.cleaning.page import Finding, Page
from tasks.cleaning.published import Maximum, PublishedRule


class DuplicateLines(PublishedRule):
    """Duplicate line fraction, at most 0.30 (table A1)."""

    name: ClassVar[str] = "gopher-duplicate-lines"
    maximum: Maximum = 0.30

    def check(self, page: Page) -> Finding | None:
        """Compare the share of lines that stood before with its maximum."""
        return self._above(page.repeated_lines.pieces, self.maximum, "of the lines stood before")


class DuplicateParagraphs(PublishedRule):
    """Duplicate paragraph fraction, at most 0.30 (table A1)."""

    name: ClassVar[str] = "gopher-duplicate-paragraphs"
    maximum: Maximum = 0.30

    def check(self, page: Page) -> Finding | None:
        """Compare the share of paragraphs that stood before with its maximum."""
        return self._above(page.repeated_paragraphs.pieces, self.maximum, "of the paragraphs stood before")


class DuplicateLineCharacters(PublishedRule):
    """Duplicate line character fraction, at most 0.20 (table A1)."""

    name: ClassVar[str] = "gopher-duplicate-line-characters"
    maximum: Maximum = 0.20

    def check(self, page: Page) -> Finding | None:
        """Compare the share of characters in lines that stood before with its maximum."""
        return self._above(page.repeated_lines.characters, self.maximum, "of the text in repeated lines")


class DuplicateParagraphCharacters(PublishedRule):
    """Duplicate paragraph character fraction, at most 0.20 (table A1)."""

    name: ClassVar[str] = "gopher-duplicate-paragraph-characters"
    maximum: Maximum = 0.20

    def check(self, page: Page) -> Finding | None:
        """Compare the share of characters in paragraphs that stood before with its maximum."""
        share = page.repeated_paragraphs.characters
        return self._above(share, self.maximum, "of the text in repeated paragraphs")


class TopNGram(PublishedRule):
    """The characters of one n-gram, wherever it stands, for n of 2, 3 and 4 (table A1)."""

    n: ClassVar[int]
    maximum: Maximum

    def check(self, page: Page) -> Finding | None:
        """Compare the share of the most frequent n-gram with its maximum."""
        return self._above(page.ngrams.top_share(self.n), self.maximum, f"in one {self.n}-gram")


class Top2Gram(TopNGram):
    """Top 2-gram character fraction, at most 0.20."""

    name: ClassVar[str] = "gopher-top-2-gram"
    n: ClassVar[int] = 2
    maximum: Maximum = 0.20


class Top3Gram(TopNGram):
    """Top 3-gram character fraction, at most 0.18."""

    name: ClassVar[str] = "gopher-top-3-gram"
    n: ClassVar[int] = 3
    maximum: Maximum = 0.18


class Top4Gram(TopNGram):
    """Top 4-gram character fraction, at most 0.16."""

    name: ClassVar[str] = "gopher-top-4-gram"
    n: ClassVar[int] = 4
    maximum: Maximum = 0.16


class DuplicateNGrams(PublishedRule):
    """The characters of all n-grams that stood before, for n of 5 to 10 (table A1)."""

    n: ClassVar[int]
    maximum: Maximum

    def check(self, page: Page) -> Finding | None:
        """Compare the share of repeated n-grams with its maximum."""
        return self._above(page.ngrams.repeated_share(self.n), self.maximum, f"in repeated {self.n}-grams")


class Duplicate5Grams(DuplicateNGrams):
    """Duplicate 5-gram character fraction, at most 0.15."""

    name: ClassVar[str] = "gopher-duplicate-5-grams"
    n: ClassVar[int] = 5
    maximum: Maximum = 0.15


class Duplicate6Grams(DuplicateNGrams):
    """Duplicate 6-gram character fraction, at most 0.14."""

    name: ClassVar[str] = "gopher-duplicate-6-grams"
    n: ClassVar[int] = 6
    maximum: Maximum = 0.14


class Duplicate7Grams(DuplicateNGrams):
    """Duplicate 7-gram character fraction, at most 0.13."""

    name: ClassVar[str] = "gopher-duplicate-7-grams"
    n: ClassVar[int] = 7
    maximum: Maximum = 0.13


class Duplicate8Grams(DuplicateNGrams):
    """Duplicate 8-gram character fraction, at most 0.12."""

    name: ClassVar[str] = "gopher-duplicate-8-grams"
    n: ClassVar[int] = 8
    maximum: Maximum = 0.12


class Duplicate9Grams(DuplicateNGrams):
    """Duplicate 9-gram character fraction, at most 0.11."""

    name: ClassVar[str] = "gopher-duplicate-9-grams"
    n: ClassVar[int] = 9
    maximum: Maximum = 0.11


class Duplicate10Grams(DuplicateNGrams):
    """Duplicate 10-gram character fraction, at most 0.10."""

    name: ClassVar[str] = "gopher-duplicate-10-grams"
    n: ClassVar[int] = 10
    maximum: Maximum = 0.10
