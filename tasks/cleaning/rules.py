"""The rules that look at one document alone. A rule that drops says why, with the number that it judged by.

A new rule is one frozen dataclass with a ``name`` and a ``check``, its thresholds in `RuleConfig`, a place in
`build`, and a test; `tasks.cleaning.published` says how one that others published is added. The order matters only
for which rule a document with several faults is counted under.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from tasks.cleaning import patterns
from tasks.cleaning.config import CleaningConfig
from tasks.cleaning.language import UNDETERMINED
from tasks.cleaning.page import Finding, Page, Rule


@dataclass(frozen=True)
class TooShort:
    """Too few words to learn from. What is left of a page without main text ends here as well."""

    name: ClassVar[str] = "too-short"
    minimum: int
    minimum_of: Mapping[str, int]

    def check(self, page: Page) -> Finding | None:
        """Compare the number of words with the minimum of the page's domain."""
        minimum = self.minimum_of.get(page.domain, self.minimum)
        count = len(page.words)
        return Finding(self.name, f"{count} words, fewer than {minimum}", count) if count < minimum else None


@dataclass(frozen=True)
class MeanWordLength:
    """Words too short or too long on average for prose: encoded data, minified code, single letters."""

    name: ClassVar[str] = "word-length"
    shortest: float
    longest: float

    def check(self, page: Page) -> Finding | None:
        """Compare the mean length of a word with its bounds (after Gopher, Rae et al. 2021, table A1)."""
        mean = page.mean_word_length
        if self.shortest <= mean <= self.longest:
            return None
        return Finding(
            self.name,
            f"words of {mean:.1f} characters on average, outside {self.shortest:g} to {self.longest:g}",
            mean,
        )


@dataclass(frozen=True)
class MostlyDigits:
    """Tables and logs of numbers."""

    name: ClassVar[str] = "digits"
    maximum: float

    def check(self, page: Page) -> Finding | None:
        """Compare the share of digits with its maximum."""
        return _ratio(self.name, "digits", sum(map(page.text.count, _DIGITS)), page.visible, self.maximum)


@dataclass(frozen=True)
class MostlySymbols:
    """Markup, ASCII art and the like: too much that is neither letter nor digit."""

    name: ClassVar[str] = "symbols"
    maximum: float

    def check(self, page: Page) -> Finding | None:
        """Compare the share of punctuation and symbols with its maximum."""
        return _ratio(self.name, "symbols", page.symbols, page.visible, self.maximum)


@dataclass(frozen=True)
class RepeatedLines:
    """Menus, footers and generated lists that say the same line again and again."""

    name: ClassVar[str] = "repeated-lines"
    maximum: float

    def check(self, page: Page) -> Finding | None:
        """Compare the share of text in repeated lines with its maximum (after Gopher's duplicate lines)."""
        share = page.repeated_lines.characters
        return _ratio(self.name, "text in repeated lines", share, 1, self.maximum)


@dataclass(frozen=True)
class Boilerplate:
    """Placeholder text, error pages and walls that stand for a page instead of its content."""

    name: ClassVar[str] = "boilerplate"
    maximum: float

    def check(self, page: Page) -> Finding | None:
        """Compare phrases per hundred words with their maximum, so that an article about them stays."""
        hits = len(_BOILERPLATE.findall(page.text))
        rate = 100 * hits / max(1, len(page.words))
        if rate <= self.maximum:
            return None
        return Finding(
            self.name, f"{hits} phrases of placeholder or error pages in {len(page.words)} words", rate
        )


@dataclass(frozen=True)
class OtherLanguage:
    """A language that is not wanted; short texts and unsure answers are given the benefit of the doubt."""

    name: ClassVar[str] = "language"
    keep: tuple[str, ...]
    min_words: int
    min_confidence: float

    def check(self, page: Page) -> Finding | None:
        """Drop what is surely in a language other than those kept."""
        code, sureness = page.language.code, 1 - page.language.among(self.keep)
        if code in self.keep or code == UNDETERMINED or sureness < self.min_confidence or self._short(page):
            return None
        return Finding(self.name, f"in {code}, not in {', '.join(self.keep)}", sureness)

    def _short(self, page: Page) -> bool:
        """Too few words to tell; where words are not spaced, two characters count as one."""
        few = len(page.words) < self.min_words
        return few and len(_UNSPACED.findall(page.text)) < 2 * self.min_words


# Han, Hiragana and Katakana, Thai, Lao, Burmese and Khmer: written without spaces between words.
_UNSPACED = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff]"
)
_DIGITS = "0123456789"
_BOILERPLATE = re.compile(
    r"lorem ipsum|dolor sit amet|consectetur adipiscing|enable javascript|javascript is (?:disabled|required)"
    r"|enable cookies|access denied|page not found|404 error|error 404|domain is for sale"
    r"|verify (?:that )?you are (?:a )?human",
    re.IGNORECASE,
)


def build(config: CleaningConfig, domain: str) -> tuple[Rule, ...]:
    """The rules for documents of a domain in the order they are asked, cheap ones first."""
    rules = config.rules
    return (
        TooShort(rules.min_words, rules.min_words_of),
        MeanWordLength(rules.min_mean_word_length, rules.max_mean_word_length),
        MostlyDigits(rules.max_digit_ratio),
        MostlySymbols(rules.max_symbol_ratio),
        RepeatedLines(rules.max_repeated_line_ratio),
        Boilerplate(rules.max_boilerplate_per_100_words),
        OtherLanguage(config.language.keep, config.language.min_words, config.language.min_confidence),
        *config.gopher.rules(domain),
        *config.c4.rules(domain),
        *config.fineweb.rules(domain),
        *patterns.build(config.patterns, config.pattern_timeout, domain),
    )


def first_finding(rules: Sequence[Rule], page: Page) -> Finding | None:
    """What the first rule that objects has to say, or None."""
    return next((finding for rule in rules if (finding := rule.check(page))), None)


def _ratio(rule: str, what: str, count: float, total: int, maximum: float) -> Finding | None:
    share = count / max(1, total)
    return Finding(rule, f"{share:.0%} {what}, more than {maximum:.0%}", share) if share > maximum else None
