"""How much of a text repeats itself: in whole pieces (lines, paragraphs) and in n-grams of words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tasks.cleaning.shingles import Hashes, ngrams, word_hashes


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
    """The n-grams of a text's words, by their 64-bit hashes; every answer takes O(words log words).

    Shares are of the characters in words. A character counts once, in however many n-grams it stands.
    """

    def __init__(self, text: str, words: Sequence[str]) -> None:
        self._hashed = word_hashes(text, words)
        self._lengths = np.fromiter(map(len, words), np.int64, len(words))
        self._total = max(1, int(self._lengths.sum()))
        self._clear_from = len(words) + 1  # no n-gram of so many words is there twice

    def top_share(self, n: int) -> float:
        """Share in the most frequent n-gram, of equally frequent ones the longest; 0 if none is there twice."""
        if n >= self._clear_from:
            return 0.0
        hashes = self._ngrams(n)
        _, first, inverse, counts = np.unique(
            hashes, return_index=True, return_inverse=True, return_counts=True
        )
        if counts.max() < 2:
            self._clear_from = n
            return 0.0
        ends = np.concatenate(([0], np.cumsum(self._lengths)))
        characters = ends[first + n] - ends[first]
        # Equal in both: the one that comes first, lest the choice hang on the hash.
        best = np.lexsort((first, -characters, -counts))[0]
        return self._covered(inverse == best, n)

    def repeated_share(self, n: int) -> float:
        """Share in n-grams that stood before in the text."""
        if n >= self._clear_from:
            return 0.0
        hashes = self._ngrams(n)
        order = np.argsort(hashes, kind="stable")
        again = np.zeros(len(hashes), bool)
        again[order[1:]] = hashes[order[1:]] == hashes[order[:-1]]
        if not again.any():
            self._clear_from = n
        return self._covered(again, n)

    def _ngrams(self, n: int) -> Hashes:
        return ngrams(self._hashed, n)

    def _covered(self, starts: npt.NDArray[np.bool_], n: int) -> float:
        """Share of the characters in the words of the n-grams that start where it says."""
        covered = np.zeros(len(self._lengths), bool)
        for offset in range(n):
            covered[offset : offset + len(starts)] |= starts
        return int(self._lengths[covered].sum()) / self._total
