"""Mentions of groups in a text, and what stands near them: one pass, paragraph by paragraph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tasks.cleaning.shingles import words
from tasks.representation.lexicon import NEGATIVE, OCCUPATIONS, POSITIVE, Lexicon, with_plurals

OCCUPATION, PRAISE, BLAME = "occupation", "praise", "blame"
_OCCUPATIONS = with_plurals(list(OCCUPATIONS))
_PRAISE, _BLAME = frozenset(POSITIVE), frozenset(NEGATIVE)


class Mention(NamedTuple):
    """A group named at a place in a paragraph, in so many words."""

    group: str
    start: int
    end: int


@dataclass
class Tally:
    """What one document says.

    Attributes:
        words: how many it has.
        mentions: mentions of each group.
        near: of these, how many have an occupation, praise or blame near them, by (group, kind).
        occupations: mentions of each group near each occupation, by (group, occupation).
    """

    words: int = 0
    mentions: Counter[str] = field(default_factory=Counter)
    near: Counter[tuple[str, str]] = field(default_factory=Counter)
    occupations: Counter[tuple[str, str]] = field(default_factory=Counter)


class Counting:
    """Counts with one lexicon and one width of the window, in words to either side."""

    def __init__(self, groups: Lexicon, window: int) -> None:
        self._groups, self._window = groups, window
        self._first = frozenset(term.split()[0] for term in groups)

    def of(self, text: str) -> Tally:
        """What a text says; nothing is near across the end of a line."""
        tally = Tally()
        for line in text.split("\n"):
            tokens = words(line)
            tally.words += len(tokens)
            if not self._first.isdisjoint(tokens):
                for mention in self._mentions(tokens):
                    self._enter(tally, tokens, mention)
        return tally

    def _mentions(self, tokens: Sequence[str]) -> Iterator[Mention]:
        """From left to right, of two readings the longer one."""
        place = 0
        while place < len(tokens):
            pair = self._groups.get(" ".join(tokens[place : place + 2])) if place + 1 < len(tokens) else None
            group = pair or self._groups.get(tokens[place])
            length = 2 if pair else 1
            if group:
                yield Mention(group, place, place + length)
            place += length if group else 1

    def _enter(self, tally: Tally, tokens: Sequence[str], mention: Mention) -> None:
        tally.mentions[mention.group] += 1
        around = {
            *tokens[max(0, mention.start - self._window) : mention.start],
            *tokens[mention.end : mention.end + self._window],
        }
        found = {_OCCUPATIONS[word] for word in around & _OCCUPATIONS.keys()}
        kinds = {OCCUPATION: found, PRAISE: around & _PRAISE, BLAME: around & _BLAME}
        tally.near.update((mention.group, kind) for kind, hits in kinds.items() if hits)
        tally.occupations.update((mention.group, occupation) for occupation in found)
