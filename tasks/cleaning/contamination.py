"""Keeps what a model is later examined on out of the text it learns from."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from tasks.cleaning.rules import Finding
from tasks.cleaning.shingles import Hashes, distinct, ngrams, text_key, word_hashes, words

RULE = "contamination"


class HeldOut:
    """The held-out labelled texts: a sorted array of n-gram hashes, and the hashes of the short ones.

    A hash is 64 bits: among a million held-out n-grams the chance that any of a billion others is taken for
    one of them is about 10**15 / 2**64, or 1 in 20,000, so a hit is not looked up again in the text.
    """

    def __init__(self, texts: Iterable[str], n: int) -> None:
        self.n = n
        self._short: set[bytes] = set()
        found: list[Hashes] = []
        for text in texts:
            tokens = words(text)
            if len(tokens) < n:
                self._short.add(text_key(text, tokens))
            else:
                found.append(ngrams(word_hashes(text, tokens), n))
        self._ngrams = distinct(np.concatenate(found)) if found else np.zeros(0, np.uint64)

    def check(self, hashed: Hashes, key: bytes) -> Finding | None:
        """Whether a document holds n words in a row of a held-out text, or is one that is shorter than that.

        Args:
            hashed: the document's `word_hashes`.
            key: the document's `text_key`.
        """
        if key in self._short:
            return Finding(RULE, "is a held-out labelled text", len(hashed))
        if len(hashed) < self.n or not len(self._ngrams):
            return None
        shared = int(_contained(distinct(ngrams(hashed, self.n)), self._ngrams).sum())
        if not shared:
            return None
        return Finding(
            RULE, f"shares {shared} sequences of {self.n} words with held-out labelled texts", shared
        )


def _contained(values: Hashes, index: Hashes) -> npt.NDArray[np.bool_]:
    places = np.minimum(np.searchsorted(index, values), len(index) - 1)
    found: npt.NDArray[np.bool_] = index[places] == values
    return found
