"""A document as the rules see it, what they answer, and what every rule offers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

from tasks.cleaning.language import Language
from tasks.cleaning.repetition import NGrams, Repeated, repeated


class Finding(NamedTuple):
    """Why a record is left out: the rule's name, a sentence for people, and the number behind it."""

    rule: str
    reason: str
    value: float


@dataclass(frozen=True)
class Page:
    """A document as the rules see it; what several of them need is counted once, and only if one asks."""

    text: str
    domain: str
    language: Language
    words: Sequence[str]
    uri: str = ""

    @cached_property
    def visible(self) -> int:
        """Characters that are not space."""
        return sum(map(len, self.text.split()))

    @cached_property
    def symbols(self) -> int:
        """Characters that are neither space nor in a word, and underscores."""
        return max(0, self.visible - self.word_characters) + self.text.count("_")

    @cached_property
    def word_characters(self) -> int:
        """Characters of all words together."""
        return sum(map(len, self.words))

    @cached_property
    def mean_word_length(self) -> float:
        """Mean length of a word in characters, 0 without words."""
        return self.word_characters / max(1, len(self.words))

    @cached_property
    def lines(self) -> list[str]:
        """The lines that hold anything, without the spaces around them."""
        return [stripped for line in self.text.split("\n") if (stripped := line.strip())]

    @cached_property
    def repeated_lines(self) -> Repeated:
        """How much stands in lines that stood before."""
        return repeated(self.lines)

    @cached_property
    def repeated_paragraphs(self) -> Repeated:
        """How much stands in paragraphs, set off by an empty line, that stood before."""
        return repeated(filter(None, map(str.strip, self.text.split("\n\n"))))

    @cached_property
    def ngrams(self) -> NGrams:
        """Where the words say again what they have said."""
        return NGrams(self.words)


class Rule(Protocol):
    """What every rule offers."""

    @property
    def name(self) -> str:
        """What its findings are counted under."""
        ...

    def check(self, page: Page) -> Finding | None:
        """None when the page may stay."""
        ...
