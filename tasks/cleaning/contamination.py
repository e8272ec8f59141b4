"""Keeps what a model is later examined on out of the text it learns from, and counts what was found.

A score says little without the contamination of its test set, so every evaluation set has its own books: how many
of its texts could be looked for, how many stood in the corpus, and how many documents went because of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from pydantic import Field

from tasks.cleaning.page import Finding
from tasks.cleaning.shingles import Hashes, distinct, ngrams, text_key, word_hashes, words
from tasks.config import Summary

RULE = "contamination"


class Contamination(Summary):
    """What was found of one evaluation set in the corpus; no text that was found was left in it."""

    texts: int = Field(description="Distinct texts of the set.")
    short: int = Field(description="Texts of fewer words than an n-gram; looked for as whole documents only.")
    found: int = Field(description="Texts that stood in a document, in part or whole.")
    documents: int = Field(
        description="Documents in which they stood, all of them removed; one may count for several sets."
    )


class HeldOut:
    """The texts of all evaluation sets: their n-gram hashes, sorted, each with the text that it is from.

    A hash is 64 bits: among a million held-out n-grams the chance that any of a billion others is taken for
    one of them is about 10**15 / 2**64, or 1 in 20,000, so a hit is not looked up again in the text.
    """

    def __init__(self, sets: Mapping[str, Iterable[str]], n: int) -> None:
        self.n = n
        self._set_of: list[str] = []
        self._short: dict[bytes, list[int]] = {}
        self._found: set[int] = set()
        self._books: dict[str, Contamination] = {}
        hashes, owners = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
        for name, texts in sorted(sets.items()):
            self._books[name] = Contamination(texts=0, short=0, found=0, documents=0)
            for text in sorted(set(texts)):
                found = self._take(name, text)
                hashes.append(found)
                owners.append(np.full(len(found), len(self._set_of) - 1))
        every, owner = np.concatenate(hashes), np.concatenate(owners)
        order = np.lexsort((owner, every))
        self._ngrams, self._owners = every[order], owner[order]

    def check(self, hashed: Hashes, key: bytes) -> Finding | None:
        """Whether a document holds n words in a row of a held-out text, or is one that is shorter than that.

        Args:
            hashed: the document's `word_hashes`.
            key: the document's `text_key`.
        """
        if owners := self._short.get(key):
            return Finding(RULE, f"is a held-out text of {self._count(owners)}", len(hashed))
        if len(hashed) < self.n or not len(self._ngrams):
            return None
        own = distinct(ngrams(hashed, self.n))
        first, last = (np.searchsorted(self._ngrams, own, side) for side in ("left", "right"))
        hits = np.flatnonzero(last > first)
        if not len(hits):
            return None
        found = np.concatenate([self._owners[first[hit] : last[hit]] for hit in hits])
        reason = f"shares {len(hits)} sequences of {self.n} words with held-out texts of {self._count(found.tolist())}"
        return Finding(RULE, reason, len(hits))

    def books(self) -> dict[str, Contamination]:
        """What was found so far, by evaluation set."""
        found = dict.fromkeys(self._books, 0)
        for text in self._found:
            found[self._set_of[text]] += 1
        return {name: entry.model_copy(update={"found": found[name]}) for name, entry in self._books.items()}

    def _take(self, name: str, text: str) -> Hashes:
        """Enter a text; returns the hashes of its n-grams, none when it is too short to have one."""
        books, tokens = self._books[name], words(text)
        self._set_of.append(name)
        books.texts += 1
        if len(tokens) >= self.n:
            return distinct(ngrams(word_hashes(text, tokens), self.n))
        books.short += 1
        self._short.setdefault(text_key(text, tokens), []).append(len(self._set_of) - 1)
        return np.zeros(0, np.uint64)

    def _count(self, texts: list[int]) -> str:
        """Note that a document goes because of these texts; returns the names of their sets."""
        self._found.update(texts)
        names = sorted({self._set_of[text] for text in texts})
        for name in names:
            self._books[name].documents += 1
        return ", ".join(names)
