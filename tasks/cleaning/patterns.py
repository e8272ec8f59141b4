"""The user's own rules: a regular expression, how often it may be found, and where it is looked for.

Patterns run on the `regex` package, which gives up after a time; the standard library's would go on for years with
a pattern like ``(a|a)+$``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import regex
from pydantic import Field, field_validator

from tasks.cleaning.page import Finding, Page
from tasks.config import StageConfig
from tasks.errors import DataError
from tasks.sources.config_base import Domain

_MOST_COPIES = 10_000
# The counts of `x{3}`, `x{2,5}` and `x{2,}`. They multiply when nested, and the compiler writes out every copy.
_COUNTS = re.compile(r"\{(\d*),?(\d*)\}")


class PatternConfig(StageConfig):
    """One rule of the user's own: documents in which the pattern is found too often go."""

    name: str = Field(
        default=...,
        pattern=r"^[a-z][a-z0-9-]{0,39}$",
        description="What its findings are counted under, after `pattern-`.",
    )
    pattern: str = Field(
        default=...,
        min_length=1,
        max_length=2000,
        description="Regular expression of the `regex` package; `(?i)` in front ignores case.",
    )
    maximum: int = Field(
        default=0, ge=0, le=1_000_000, description="How often it may be found in a document that stays."
    )
    domains: tuple[Domain, ...] = Field(
        default=(), description="Domains whose documents are searched, every one if empty."
    )

    @field_validator("pattern")
    @classmethod
    def _can_be_used(cls, pattern: str) -> str:
        counts = [max(int(count or 1) for count in found) for found in _COUNTS.findall(pattern)]
        if math.prod(filter(None, counts)) > _MOST_COPIES:
            raise ValueError(f"its counts multiply to more than {_MOST_COPIES}")
        try:
            empty = regex.compile(pattern).search("", timeout=1)
        except (regex.error, RecursionError, OverflowError, MemoryError, TimeoutError) as error:
            problem = str(error) or type(error).__name__
            raise ValueError(f"is not a regular expression that can be used: {problem}") from error
        if empty:
            raise ValueError("finds the empty text, so it would find something everywhere")
        return pattern


@dataclass(frozen=True)
class Pattern:
    """A user's pattern at work."""

    name: str
    compiled: Any
    maximum: int
    timeout: float

    def check(self, page: Page) -> Finding | None:
        """Count what the pattern finds, no further than to one too many.

        Raises:
            DataError: the search takes too long or too much memory; the pattern is at fault, not the document.
        """
        try:
            found = self.compiled.finditer(page.text, timeout=self.timeout)
            hits = sum(1 for _ in islice(found, self.maximum + 1))
        except (TimeoutError, MemoryError) as error:
            needs = f"more than {self.timeout:g} s" if isinstance(error, TimeoutError) else "too much memory"
            raise DataError(
                f"rule {self.name} takes {needs} on this document",
                stage="cleaning",
                where=page.uri,
                remedy="rewrite its pattern without repetition inside repetition, "
                "or raise cleaning.pattern_timeout",
            ) from error
        if hits <= self.maximum:
            return None
        return Finding(self.name, f"found more than {self.maximum} times", hits)


def build(patterns: Iterable[PatternConfig], timeout: float, domain: str) -> tuple[Pattern, ...]:
    """The patterns for the documents of a domain, in the order of the configuration."""
    return tuple(
        Pattern(f"pattern-{config.name}", regex.compile(config.pattern), config.maximum, timeout)
        for config in patterns
        if not config.domains or domain in config.domains
    )
