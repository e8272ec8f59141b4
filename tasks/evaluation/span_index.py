"""Where a text stands word for word in the training text: a suffix array over its tokens.

Every place of the training text, sorted by what follows it. All places that go on alike lie side by side, so
that a text's longest match is found by halving (Manber & Myers 1993). Exact, token for token: where the same
words were cut into other tokens, as may happen at the edges of a text, the match ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.shards import SEPARATOR, DocumentTable, TokenShard

Ids = NDArray[np.int64]


class Span(NamedTuple):
    """``length`` tokens of a text from ``start`` on, and the first training document that holds them."""

    start: int
    length: int
    document: str  # empty where nothing matches
    occurrences: int = 0  # in the whole of what is indexed


class Matches(NamedTuple):
    """For every place of a text: how long the match is that begins there, and which suffixes hold it."""

    lengths: Ids
    low: Ids
    high: Ids


class SpanIndex:
    """Finds what a text has in common with the training text, token for token."""

    def __init__(self, tokens: NDArray[np.signedinteger], order: Ids, documents: DocumentTable) -> None:
        """Take what `build` made."""
        self.tokens = tokens
        self.documents = documents
        self._order = order

    @classmethod
    def build(cls, tokens: ArrayLike, documents: DocumentTable) -> SpanIndex:
        """Index (n,) tokens; ``documents`` says which of them belong to which document.

        Takes about a second for a million tokens and, at its height, some 80 bytes for each.
        """
        ids = np.asarray(tokens).astype(np.int32)
        return cls(ids, suffix_array(ids), documents)

    @classmethod
    def of_shard(cls, shard: TokenShard, limit: int = 0, seed: int = 0) -> SpanIndex:
        """Index a split, or whole documents of it in random order up to about ``limit`` tokens (0: all)."""
        table = shard.documents
        lengths = table.ends - table.starts
        if not limit or len(shard) <= limit:
            return cls.build(shard.tokens, table)
        chosen = np.random.default_rng(seed).permutation(len(table))
        fitting = int(np.searchsorted(np.cumsum(lengths[chosen]), limit, side="right"))
        rows = np.sort(chosen[: max(1, fitting)])
        parts = [shard.tokens[table.starts[row] : table.ends[row]] for row in rows]
        ends = np.cumsum(lengths[rows])
        names = tuple(table.ids[row] for row in rows)
        part = DocumentTable(names, ends - lengths[rows], ends, table.bytes[rows])
        return cls.build(np.concatenate(parts), part)

    def __len__(self) -> int:
        return len(self.tokens)

    def longest(self, ids: Sequence[int] | Ids) -> Span:
        """The longest part of a text that stands in the training text; the first of several.

        A separator in the text matches nothing: no span crosses from one document to the next.
        """
        found = self.match(ids)
        if not len(found.lengths) or not found.lengths.max():
            return Span(0, 0, "")
        return self._span(found, int(found.lengths.argmax()))

    def spans(self, ids: Sequence[int] | Ids, least: int = 1) -> list[Span]:
        """All parts of at least ``least`` tokens that cannot be made longer, in order; they may overlap."""
        found = self.match(ids)
        ends = np.arange(len(found.lengths)) + found.lengths
        longer = np.append(True, ends[1:] > ends[:-1]) if len(ends) else np.zeros(0, bool)
        return [
            self._span(found, int(at)) for at in np.flatnonzero(longer & (found.lengths >= max(1, least)))
        ]

    def match(self, ids: Sequence[int] | Ids) -> Matches:
        """How long the match at every place of a text is; one token more at a time, at all places at once."""
        wanted = np.asarray(ids, dtype=np.int64)
        wanted = np.append(np.where(wanted == SEPARATOR, -1, wanted), -1)
        count = len(wanted) - 1
        lengths = np.zeros(count, np.int64)
        low, high = np.zeros(count, np.int64), np.full(count, len(self.tokens), np.int64)
        going, depth = np.arange(count), 0
        while len(going):
            token = wanted[going + depth]
            first = self._bound(low[going], high[going], depth, token)
            last = self._bound(first, high[going], depth, token + 1)
            still = (first < last) & (token >= 0)
            going, depth = going[still], depth + 1
            low[going], high[going], lengths[going] = first[still], last[still], depth
        return Matches(lengths, low, high)

    def _bound(self, low: Ids, high: Ids, depth: int, token: Ids) -> Ids:
        """The first suffix in each [low, high) whose token number ``depth`` is not below ``token``."""
        low, high = low.copy(), high.copy()
        while (open_ := low < high).any():
            middle = (low + high) // 2
            below = open_ & (self._token(np.minimum(middle, len(self.tokens) - 1), depth) < token)
            low, high = np.where(below, middle + 1, low), np.where(open_ & ~below, middle, high)
        return low

    def _token(self, places: Ids, depth: int) -> Ids:
        """Token number ``depth`` of the suffixes at these places of the order; -1 beyond the end."""
        at = self._order[places].astype(np.int64) + depth
        inside = at < len(self.tokens)
        return np.where(inside, self.tokens[np.where(inside, at, 0)], -1).astype(np.int64)

    def _span(self, found: Matches, at: int) -> Span:
        low, high = int(found.low[at]), int(found.high[at])
        place = int(self._order[low:high].min())
        row = int(np.searchsorted(self.documents.starts, place, side="right")) - 1
        return Span(at, int(found.lengths[at]), self.documents.ids[row], high - low)


def suffix_array(tokens: NDArray[np.signedinteger]) -> Ids:
    """The starts of all suffixes of (n,) tokens, in the order of what they hold; a shorter one comes first.

    Sorts by a few tokens, then by twice as many, and so on; what is in its place already is left alone
    (Larsson & Sadakane 2007).
    """
    count = len(tokens)
    if not count:
        return np.zeros(0, np.int64)
    _, dense = np.unique(tokens, return_inverse=True)
    width = max(1, int(dense.max() + 1).bit_length())
    depth = max(1, 62 // width)
    keys = np.zeros(count, np.int64)
    padded = np.append(dense.astype(np.int64) + 1, np.zeros(depth, np.int64))
    for step in range(depth):
        keys = (keys << width) | padded[step : step + count]
    order = np.argsort(keys, kind="stable")
    rank = np.zeros(count + 1, np.int64)  # the first place of each suffix's group, counted from 1; 0: the end
    open_ = _refine(order, np.arange(count), keys[order], rank)
    del keys, padded
    while len(open_):
        suffixes = order[open_]
        follows = rank[np.minimum(suffixes + depth, count)]
        keys = rank[suffixes] * (count + 1) + follows
        sorted_ = np.argsort(keys, kind="stable")
        order[open_] = suffixes[sorted_]
        open_ = _refine(order, open_, keys[sorted_], rank)
        depth *= 2
    return order


def _refine(order: Ids, places: Ids, keys: Ids, rank: Ids) -> Ids:
    """Give equal keys one rank, and return those of the ``places`` that share theirs with another.

    ``keys`` (m,) belong to the suffixes at ``places`` (m,) of the order.
    """
    opens = np.append(True, keys[1:] != keys[:-1])
    first = np.maximum.accumulate(np.where(opens, np.arange(len(keys)), 0))
    rank[order[places]] = places[first] + 1
    alone = opens & np.append(opens[1:], True)
    shared: Ids = places[~alone]
    return shared
