"""How surely near-duplicates are found: `python -m benchmarks.near_duplicates [PAIRS]`.

Pairs of texts are made whose sets of word 5-grams have a known Jaccard similarity: both begin with the same words and
go on with words that occur nowhere else. Beside what is found stand what the chosen bands promise, 1 - (1 - J^r)^b
(Leskovec, Rajaraman, Ullman, chapter 3), and the exact similarity of every pair as the baseline that nothing can beat.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.shares import share
from tasks.cleaning.config import NearDuplicates
from tasks.cleaning.duplicates import band_shape, near_duplicates
from tasks.cleaning.shingles import Fingerprints

LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
_SHINGLES = 400


class Level(NamedTuple):
    """What became of the pairs of one similarity; ``exact`` is how many truly reach the threshold."""

    similarity: float
    pairs: int
    candidates: int
    exact: int
    found: int
    wrong: int


def main() -> None:
    """Print a row for each similarity, with exact 95 % intervals (Clopper and Pearson 1934)."""
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    settings = NearDuplicates()
    bands, width = band_shape(settings)
    print(f"{bands} bands of {width} values, threshold {settings.threshold:g}, {_SHINGLES} 5-grams a text\n")
    print(
        "| Jaccard | pairs | candidates | theory of the bands | at the threshold | found | recall | precision |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for level in (measured(similarity, pairs, settings) for similarity in LEVELS):
        theory = 1 - (1 - level.similarity**width) ** bands
        print(
            f"| {level.similarity:g} | {level.pairs} | {share(level.candidates, level.pairs)} | {theory:.4f} "
            f"| {level.exact} | {level.found} | {share(level.found, level.exact)} "
            f"| {share(level.found, level.found + level.wrong)} |",
            flush=True,
        )


def measured(similarity: float, pairs: int, settings: NearDuplicates, seed: int = 0) -> Level:
    """Plant so many pairs of one similarity among each other, and count what is found in two orders.

    Raises:
        RuntimeError: another order of the texts finds another set of pairs.
    """
    bands, width = band_shape(settings)
    with tempfile.TemporaryDirectory() as folder, Fingerprints(settings, Path(folder) / "prints") as texts:
        for hashes in planted(similarity, pairs, settings.shingle_words, seed):
            texts.add(hashes)
        signatures = texts.signatures()[:, : bands * width].reshape(pairs, 2, bands, width)
        candidates = (signatures[:, 0] == signatures[:, 1]).all(axis=2).any(axis=1)
        dropped = near_duplicates(texts, range(2 * pairs))
        backwards = near_duplicates(texts, range(2 * pairs)[::-1])
        true = [_exact(texts, pair) >= settings.threshold for pair in range(pairs)]
    found = {row // 2 for row, copy in dropped.items() if row // 2 == copy.of // 2}
    if found != {row // 2 for row in backwards}:
        raise RuntimeError("the order of the texts decides which pairs are found")
    right = sum(true[pair] for pair in found)
    return Level(similarity, pairs, int(candidates.sum()), sum(true), right, len(dropped) - right)


def planted(similarity: float, pairs: int, shingle_words: int, seed: int) -> Iterator[np.ndarray]:
    """Texts as hashes of words, two by two; every word of a pair occurs once, so every 5-gram is another."""
    shared = -(-2 * _SHINGLES * similarity // (1 + similarity))  # rounded up: not below the similarity
    common = int(shared) + shingle_words - 1
    generator = np.random.default_rng(seed)
    for _ in range(pairs):
        stem, *ends = np.split(
            generator.integers(0, 1 << 63, common + 2 * (_SHINGLES - int(shared)), np.int64).astype(
                np.uint64
            ),
            [common, common + _SHINGLES - int(shared)],
        )
        for end in ends:
            yield np.concatenate([stem, end])


def _exact(texts: Fingerprints, pair: int) -> float:
    left, right = (set(texts.shingles(2 * pair + side).tolist()) for side in (0, 1))
    return len(left & right) / len(left | right)


if __name__ == "__main__":
    started = time.monotonic()
    main()
    print(f"\n{time.monotonic() - started:.0f} s")
