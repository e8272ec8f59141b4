"""Which texts are copies of one another, and which copy stays, whatever the order of the texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tasks.cleaning.config import NearDuplicates
from tasks.cleaning.shingles import Fingerprints, jaccard

# Pairs at the threshold are found with at least this probability.
RECALL = 0.99
# How far below the threshold an estimated similarity may lie before the exact one is not computed, in
# standard deviations.
_SLACK = 4.0


class Copy(NamedTuple):
    """The row that a dropped row is a copy of, and how similar the two are."""

    of: int
    similarity: float


def exact_duplicates(keys: Sequence[bytes], ids: Sequence[str]) -> dict[int, Copy]:
    """Rows that share their key with a row of smaller id; that one stays."""
    first: dict[bytes, int] = {}
    for row in sorted(range(len(keys)), key=lambda row: ids[row]):
        first.setdefault(keys[row], row)
    return {row: Copy(first[key], 1.0) for row, key in enumerate(keys) if first[key] != row}


def near_duplicates(texts: Fingerprints, order: Sequence[int]) -> dict[int, Copy]:
    """Rows that are near-duplicates of a row that comes before them in ``order`` and stays.

    Going through the rows from the most to the least wanted, a row stays unless it is similar to one that
    stayed. So no row is dropped for being similar to a dropped one (chains do not swallow a corpus), no two
    rows that stay are similar, and in a heap of copies each is compared with one. Candidates come from
    MinHash with locality-sensitive hashing (Broder 1997; Leskovec, Rajaraman, Ullman, chapter 3); each is
    verified with the true similarity.
    """
    bands = _Bands(texts)
    rank = {row: place for place, row in enumerate(order)}
    kept: dict[int, list[int]] = {}
    dropped: dict[int, Copy] = {}
    for row in order:
        buckets = bands.of(row)
        rivals = {other for bucket in buckets for other in kept.get(bucket, ())}
        copy = bands.nearest(row, sorted(rivals, key=rank.__getitem__))
        if copy:
            dropped[row] = copy
            continue
        for bucket in buckets:
            kept.setdefault(bucket, []).append(row)
    return dropped


def clusters(texts: Fingerprints) -> list[int]:
    """The cluster of each row, as its smallest row; a chain of similar pairs makes a cluster."""
    bands = _Bands(texts)
    parent = list(range(len(texts)))
    for bucket in bands.buckets():
        _unite_similar(bands, bucket, parent)
    return [find(parent, row) for row in range(len(parent))]


def leaks(texts: Fingerprints, splits: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Pairs of near-duplicates that lie in different splits; a row without a split is in none."""
    bands = _Bands(texts)
    seen: set[tuple[int, int]] = set()
    for bucket in bands.buckets():
        placed = [row for row in bucket if splits[row]]
        if len({splits[row] for row in placed}) < 2:
            continue
        for row in placed:
            others = [other for other in placed if other < row and splits[other] != splits[row]]
            copy = bands.nearest(row, others)
            if copy and (copy.of, row) not in seen:
                seen.add((copy.of, row))
                yield copy.of, row


def find(parent: list[int], row: int) -> int:
    """The representative of a row's set in a union-find forest."""
    while parent[row] != row:
        parent[row] = parent[parent[row]]
        row = parent[row]
    return row


def unite(parent: list[int], left: int, right: int) -> None:
    """Join two sets of a union-find forest; the smaller representative stays."""
    left, right = find(parent, left), find(parent, right)
    parent[max(left, right)] = min(left, right)


def band_shape(settings: NearDuplicates) -> tuple[int, int]:
    """Number and width of the bands: the widest that find 99 % of the pairs at the threshold."""
    for width in range(settings.permutations, 1, -1):
        bands = settings.permutations // width
        if 1 - (1 - settings.threshold**width) ** bands >= RECALL:
            return bands, width
    return settings.permutations, 1


def _unite_similar(bands: _Bands, bucket: list[int], parent: list[int]) -> None:
    """Join the similar rows of one bucket; one row of each cluster is asked first, which settles most."""
    groups: list[list[int]] = []
    for row in bucket:
        _link(bands, row, [group[0] for group in groups], parent)
        own = find(parent, row)
        _link(
            bands,
            row,
            [other for group in groups if find(parent, group[0]) != own for other in group[1:]],
            parent,
        )
        own, joined, apart = find(parent, row), [row], []
        for group in groups:
            if find(parent, group[0]) == own:
                group.extend(joined)
                joined = group
            else:
                apart.append(group)
        groups = [*apart, joined]


def _link(bands: _Bands, row: int, others: list[int], parent: list[int]) -> None:
    for other in bands.alike(row, others):
        if find(parent, other) != find(parent, row) and bands.similarity(row, other) >= bands.threshold:
            unite(parent, row, other)


class _Bands:
    """The signatures cut into bands; rows that agree in a whole band share a bucket and are compared."""

    def __init__(self, texts: Fingerprints) -> None:
        self.texts, self.threshold = texts, texts.settings.threshold
        self.signatures = texts.signatures()
        count, width = band_shape(texts.settings)
        spread = (self.threshold * (1 - self.threshold) / texts.settings.permutations) ** 0.5
        self._floor = self.threshold - _SLACK * spread
        self._shared = _shared_buckets(self.signatures, count, width)

    def of(self, row: int) -> list[int]:
        """The buckets of a row that hold other rows as well."""
        return [int(bucket) for bucket in self._shared[row] if bucket >= 0]

    def buckets(self) -> Iterator[list[int]]:
        """The rows of each bucket that holds more than one, in ascending order."""
        rows, _ = np.nonzero(self._shared >= 0)
        numbers = self._shared[self._shared >= 0]
        order = np.lexsort((rows, numbers))
        edges = np.flatnonzero(np.diff(numbers[order])) + 1
        for group in np.split(rows[order], edges):
            if len(group):
                yield group.tolist()

    def alike(self, row: int, others: list[int]) -> list[int]:
        """Those whose estimated similarity to the row does not rule the threshold out."""
        if not others:
            return []
        estimates = (self.signatures[others] == self.signatures[row]).mean(axis=1)
        return [other for other, estimate in zip(others, estimates, strict=True) if estimate >= self._floor]

    def similarity(self, row: int, other: int) -> float:
        """The true Jaccard similarity of two rows."""
        return jaccard(self.texts.shingles(row), self.texts.shingles(other))

    def nearest(self, row: int, others: list[int]) -> Copy | None:
        """The most similar of some rows, if it is similar enough; of equals the first."""
        best: Copy | None = None
        for other in self.alike(row, others):
            similarity = self.similarity(row, other)
            if similarity >= self.threshold and (best is None or similarity > best.similarity):
                best = Copy(other, similarity)
        return best


def _shared_buckets(signatures: npt.NDArray[np.uint32], count: int, width: int) -> npt.NDArray[np.int64]:
    """For each row and band the number of its bucket, unique over the bands, or -1 where the row is alone."""
    result = np.full((len(signatures), count), -1, np.int64)
    used = 0
    for band in range(count):
        block = np.ascontiguousarray(signatures[:, band * width : (band + 1) * width])
        keys = block.view(np.dtype((np.void, block.dtype.itemsize * width))).ravel()
        _, bucket, sizes = np.unique(keys, return_inverse=True, return_counts=True)
        shared = sizes[bucket] > 1
        result[shared, band] = bucket[shared] + used
        used += len(sizes)
    return result
