"""The training documents most like a text, by the words they share: BM25 (Robertson & Zaragoza 2009).

It does not say which documents made the model write something. As a guess at that it is nevertheless hard to
beat: it found the source of a fact better than gradients did (Akyürek et al. 2022, arXiv:2205.11482).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tasks import tables
from tasks.artifacts import Artifact
from tasks.config import StageConfig

_WORD = re.compile(r"[^\W_]+")


class SimilarConfig(StageConfig):
    """How the words of two texts are weighed."""

    saturation: float = Field(
        1.2, ge=0.0, le=100.0, description="k1: how soon one more of the same word stops counting."
    )
    length_penalty: float = Field(
        0.75, ge=0.0, le=1.0, description="b: how much a word counts less in a long document."
    )
    excerpt_characters: int = Field(240, ge=20, le=10_000, description="Characters of a document to show.")


class Neighbour(NamedTuple):
    """A training document, how much it has in common with the text, and where in it."""

    id: str
    score: float
    excerpt: str
    source: str
    licence: str


class WordIndex:
    """For every word, the documents that hold it, and how much it says about each: arrays, word by word."""

    def __init__(self, texts: Sequence[str], config: SimilarConfig | None = None) -> None:
        """Index the texts; about a second for 5 MB."""
        config = config or SimilarConfig()
        self.vocabulary: dict[str, int] = {}
        vocabulary, parts = self.vocabulary, []
        for text in texts:
            written = _WORD.findall(text.lower())
            for word in written:
                if word not in vocabulary:
                    vocabulary[word] = len(vocabulary)
            parts.append(np.fromiter(map(vocabulary.__getitem__, written), np.int64, len(written)))
        self.documents = len(parts)
        lengths = np.array([len(part) for part in parts], dtype=np.int64)
        words = np.concatenate(parts) if parts else np.zeros(0, np.int64)
        cells = words * max(1, self.documents) + np.repeat(np.arange(self.documents), lengths)
        cells, counts = np.unique(cells, return_counts=True)
        words, self._rows = np.divmod(cells, max(1, self.documents))
        self._starts = np.searchsorted(words, np.arange(len(vocabulary) + 1))
        self._weights = _weights(counts, lengths, words, self._rows, config)

    def scores(self, text: str) -> NDArray[np.float64]:
        """How much each document has in common with a text, (documents,)."""
        total = np.zeros(self.documents)
        for word, count in Counter(_WORD.findall(text.lower())).items():
            if (number := self.vocabulary.get(word)) is not None:
                span = slice(self._starts[number], self._starts[number + 1])
                total[self._rows[span]] += count * self._weights[span]
        return total

    def rarity(self, word: str) -> float:
        """How rarely documents hold a word; 0 where none does."""
        number = self.vocabulary.get(word.lower())
        return 0.0 if number is None else 1.0 / float(self._starts[number + 1] - self._starts[number])


def _weights(
    counts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    words: NDArray[np.int64],
    rows: NDArray[np.int64],
    config: SimilarConfig,
) -> NDArray[np.float64]:
    """What each (word, document) pair adds to the score of its document."""
    if not len(words):
        return np.zeros(0)
    held_by = np.bincount(words)
    rarity = np.log1p((len(lengths) - held_by + 0.5) / (held_by + 0.5))
    relative = 1 - config.length_penalty + config.length_penalty * lengths / lengths.mean()
    k = config.saturation
    weights: NDArray[np.float64] = rarity[words] * counts * (k + 1) / (counts + k * relative[rows])
    return weights


class TrainingDocuments:
    """The documents of the training split, searchable by text."""

    def __init__(self, cleaning: Artifact, config: SimilarConfig | None = None) -> None:
        """Read and index ``documents.parquet``; all texts stay in memory.

        Raises:
            ArtifactError: the table is missing or cannot be read.
        """
        self.config = config or SimilarConfig()
        columns = ["id", "text", "split", "source", "licence"]
        table = tables.read_arrow(cleaning.file("documents.parquet"), columns)
        kept = [split == "train" for split in table["split"].to_pylist()]
        self._table = table.filter(np.array(kept, dtype=bool)).select(["id", "text", "source", "licence"])
        self.index = WordIndex(self._table["text"].to_pylist(), self.config)

    def nearest(self, text: str, k: int = 5) -> list[Neighbour]:
        """The ``k`` documents with most in common with a text, best first; none without a common word."""
        scores = self.index.scores(text)
        order = np.argsort(-scores, kind="stable")[:k]
        found = []
        for row in (int(row) for row in order if scores[row] > 0):
            document = self._table.slice(row, 1).to_pylist()[0]
            excerpt = self._excerpt(document["text"], text)
            found.append(
                Neighbour(
                    document["id"], float(scores[row]), excerpt, document["source"], document["licence"]
                )
            )
        return found

    def _excerpt(self, document: str, text: str) -> str:
        """The part of a document with most of the text's words, rare ones above all; whitespace folded."""
        rarity = {word: self.index.rarity(word) for word in set(_WORD.findall(text.lower()))}
        lowered = document.lower()
        lowered = lowered if len(lowered) == len(document) else document
        hits = [(m.start(), m.group()) for m in _WORD.finditer(lowered) if m.group() in rarity]
        best, best_worth, last = 0, 0.0, 0
        worth, inside = 0.0, Counter[str]()
        for place, word in hits:
            worth += 0.0 if inside[word] else rarity[word]
            inside[word] += 1
            while place - hits[last][0] > self.config.excerpt_characters * 3 // 4:
                leaving = hits[last][1]
                inside[leaving] -= 1
                worth -= 0.0 if inside[leaving] else rarity[leaving]
                last += 1
            if worth > best_worth + 1e-12:
                best, best_worth = hits[last][0], worth
        return _cut(document, best, self.config.excerpt_characters)


def nearest(
    text: str, cleaning: Artifact, k: int = 5, config: SimilarConfig | None = None
) -> list[Neighbour]:
    """The ``k`` training documents most like a text. For several texts, keep a `TrainingDocuments`.

    Raises:
        ArtifactError: the documents cannot be read.
    """
    return TrainingDocuments(cleaning, config).nearest(text, k)


def _cut(document: str, around: int, length: int) -> str:
    """About ``length`` characters of a document, from a little before ``around`` on, at word boundaries."""
    start = max(0, around - length // 4)
    if start:
        space = document.find(" ", start, around)
        start = start if space < 0 else space + 1
    end = min(len(document), start + length)
    if end < len(document):
        space = document.rfind(" ", start + length // 2, end)
        end = end if space < 0 else space
    words = " ".join(document[start:end].split())
    return f"{'… ' if start else ''}{words}{' …' if end < len(document) else ''}"
