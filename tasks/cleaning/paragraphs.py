"""Paragraphs that stand in several documents: kept once, removed everywhere else.

Technical pages repeat whole paragraphs of each other without being near-duplicates. Left in, the same words would be
trained on many times and stand on both sides of the split. Lee et al. 2022 ("Deduplicating Training Data Makes
Language Models Better") and CCNet (Wenzek et al. 2020) remove them for these reasons.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tasks.cleaning.shingles import text_key, words

_BLANK_LINES = re.compile(r"\n{3,}")


@dataclass
class Paragraphs:
    """Which document owns each paragraph that is long enough to count: the one with the smallest id.

    Memory: some 150 bytes for each different paragraph.

    Attributes:
        min_words: shorter paragraphs (headings, verses, stage directions) may be repeated.
        removed: paragraphs removed so far, by domain.
        removed_bytes: their UTF-8 bytes, by domain.
    """

    min_words: int
    removed: Counter[str] = field(default_factory=Counter)
    removed_bytes: Counter[str] = field(default_factory=Counter)
    _owners: dict[bytes, str] = field(default_factory=dict)

    def learn(self, documents: Iterable[tuple[str, str]]) -> None:
        """Take note of the paragraphs of (id, text) pairs; the order does not matter."""
        for identifier, text in documents:
            for _, key in self._counted(text):
                self._owners[key] = min(self._owners.get(key, identifier), identifier)

    def thinned(self, identifier: str, text: str, domain: str) -> str:
        """The text without the paragraphs that another document owns or that stood in it before."""
        seen: set[bytes] = set()
        foreign: set[int] = set()
        for place, key in self._counted(text):
            if key in seen or self._owners[key] != identifier:
                foreign.add(place)
            seen.add(key)
        if not foreign:
            return text
        lines = text.split("\n")
        self.removed[domain] += len(foreign)
        self.removed_bytes[domain] += sum(len(lines[place].encode()) for place in foreign)
        left = "\n".join(line for place, line in enumerate(lines) if place not in foreign)
        return _BLANK_LINES.sub("\n\n", left).strip()

    def _counted(self, text: str) -> Iterable[tuple[int, bytes]]:
        for place, line in enumerate(text.split("\n")):
            # A word and the space after it take two characters: most lines need no closer look.
            if len(line) >= 2 * self.min_words - 1 and len(tokens := words(line)) >= self.min_words:
                yield place, text_key(line, tokens)
