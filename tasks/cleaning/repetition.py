"""How much of a text repeats itself: in whole pieces (lines, paragraphs) and in n-grams of words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]


class Repeated(NamedTuple):
    """Shares of the pieces that stood before in the same text; the first of equal pieces does not count."""

    pieces: float
    characters: float


def repeated(pieces: Iterable[str]) -> Repeated:
    """Shares of the pieces, and of their characters, that are in pieces seen before; 0 of nothing."""
    seen: set[str] = set()
    count = again = characters = characters_again = 0
    for piece in pieces:
        count += 1
        characters += len(piece)
        if piece in seen:
            again += 1
            characters_again += len(piece)
        seen.add(piece)
    return Repeated(again / max(1, count), characters_again / max(1, characters))


class NGrams:
    """The n-grams of some words, told apart exactly.

    Asked for growing n, each answer takes one sort: an n-gram is the one before it and a word. Only the numbers of
    one n are kept. Shares are of the characters in words; one counts once, in however many n-grams it stands.
    """

    def __init__(self, words: Sequence[str]) -> None:
        numbers: dict[str, int] = {}
        for word in words:
            numbers.setdefault(word, len(numbers))
        self._words = np.fromiter(map(numbers.__getitem__, words), np.int64, len(words))
        self._different = len(numbers)
        self._lengths = np.fromiter(map(len, words), np.int64, len(words))
        self._total = max(1, int(self._lengths.sum()))
        self._none_from = len(words)  # no n-gram of so many words is there twice
        self._restart()

    def top_share(self, n: int) -> float:
        """Share in the most frequent n-gram, of equally frequent ones the longest; 0 if none is there twice."""
        if not self._repeats(n):
            return 0.0
        (candidates,) = np.nonzero(self._counts == self._counts.max())
        firsts = self._firsts[candidates]
        ends = np.concatenate(([0], np.cumsum(self._lengths)))
        longest = np.lexsort((firsts, ends[firsts] - ends[firsts + n]))[0]
        return self._covered(self._numbers == candidates[longest], n)

    def repeated_share(self, n: int) -> float:
        """Share in n-grams that stood before in the text."""
        if not self._repeats(n):
            return 0.0
        again = np.ones(len(self._numbers), bool)
        again[self._firsts] = False
        return self._covered(again, n)

    def _repeats(self, n: int) -> bool:
        """Whether some n-gram is there twice; its numbers are at hand if so."""
        if n < self._n:
            self._restart()
        while self._n < n < self._none_from:
            self._lengthen()
            if len(self._firsts) == len(self._numbers):
                self._none_from = self._n
        return n < self._none_from

    def _restart(self) -> None:
        self._n = 0
        self._numbers: Integers = np.zeros(len(self._words) + 1, np.int64)

    def _lengthen(self) -> None:
        """Number the n-grams of one word more, equal ones alike; note where each is first and how often."""
        pairs = self._numbers[:-1] * self._different + self._words[self._n :]
        order = np.argsort(pairs)
        ordered = pairs[order]
        new = np.concatenate(([True], ordered[1:] != ordered[:-1]))
        self._numbers = np.empty_like(pairs)
        self._numbers[order] = np.cumsum(new) - 1
        (starts,) = np.nonzero(new)
        self._counts: Integers = np.append(starts[1:], len(pairs)) - starts
        self._firsts: Integers = np.minimum.reduceat(order, starts)
        self._n += 1

    def _covered(self, starts: npt.NDArray[np.bool_], n: int) -> float:
        """Share of the characters in the words of the n-grams that start where it says."""
        covered = np.zeros(len(self._lengths), bool)
        for offset in range(n):
            covered[offset : offset + len(starts)] |= starts
        return int(self._lengths[covered].sum()) / self._total
