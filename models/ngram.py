"""The older way to model language: an n-gram model with interpolated modified Kneser-Ney smoothing.

It is the baseline every trained transformer has to beat, on the same token ids and so on the same bytes.
The estimator is Chen & Goodman's (1998, TR-10-98): three discounts per order from counts of counts,
continuation counts below the highest order, every order interpolated with the one below and the lowest with
the uniform distribution. The start of a document is treated as in Heafield et al. (2013), "Scalable Modified
Kneser-Ney Language Model Estimation".

An n-gram is stored as `row of its prefix * vocabulary size + last token`, where the prefix is a row of the
table one order below. So the tables are exact (nothing is hashed), sorted, and open to any order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Discounts = tuple[float, float, float]

ABSENT = -1
"""The row of an n-gram that is not in the training data, or would span the start of a document."""

FALLBACK_DISCOUNTS: Discounts = (0.5, 1.0, 1.5)
"""What n-grams counted once, twice and more often lose where the data cannot tell (KenLM's fallback, too)."""


@dataclass(frozen=True)
class _Order:
    """What is known at one order: its sorted n-grams, and how much each context leaves to the order below."""

    keys: Integers  # (n-grams,) sorted: row of the prefix * vocabulary size + last token
    kept: Floats  # (n-grams + 1,) share of its context's mass after discounting; 0 at ABSENT, the last place
    backoff: Floats  # (contexts + 1,) share handed down; 1 for contexts never continued, and at ABSENT
    discounts: Discounts

    def rows(self, keys: Integers) -> Integers:
        """The row of every key, `ABSENT` where there is none."""
        if not self.keys.size:
            return np.full(keys.shape, ABSENT, dtype=np.int64)
        rows = np.minimum(np.searchsorted(self.keys, keys), self.keys.size - 1)
        return np.where(self.keys[rows] == keys, rows, ABSENT)


@dataclass(frozen=True)
class _Counts:
    """The n-grams of one order as they occur, before it is known what precedes them."""

    keys: Integers  # (n-grams,) as in _Order
    raw: Integers  # (n-grams,) occurrences as a prediction
    suffix: Integers  # (n-grams,) row, one order below, of the n-gram less its first token
    opens: NDArray[np.bool_]  # (n-grams,) whether its first token is the separator
    rows: Integers  # (tokens,) row of the n-gram that ends at each token of the data


class KneserNey:
    """Interpolated modified Kneser-Ney over token ids.

    Documents lie end to end in a flat array, each opened by the separator. The separator is context only: it
    is never a target and has probability 0; every other token of the vocabulary has a probability above 0.
    No n-gram reaches back past a separator.

    Near a document's start the context is simply shorter: the j-th token of a document is predicted from the
    separator and the j-1 tokens before it, at order j+1, until the full order is reached; the separator is
    not repeated as padding. An n-gram that opens with the separator has nothing before it, so it keeps its
    plain count at the lower orders, where all others are counted by the different tokens that precede them.
    """

    def __init__(self, orders: Sequence[_Order], vocab_size: int, separator: int) -> None:
        """Wrap finished tables; use `fit` to estimate them."""
        self._orders = tuple(orders)
        self.order = len(self._orders)
        self.vocab_size = vocab_size
        self.separator = separator

    @classmethod
    def fit(cls, tokens: NDArray[Any], order: int, vocab_size: int, separator: int = 0) -> KneserNey:
        """Estimate a model of the given order from `tokens`, (N,) integer ids that begin with the separator.

        Raises ValueError for an order below 1, a separator or id outside the vocabulary, tokens that are not
        flat integers or do not begin with the separator, and data without a single token to predict. Takes
        the time of sorting the data once per order.
        """
        if order < 1:
            raise ValueError(f"the order of an n-gram model is at least 1, not {order}")
        if not 0 <= separator < vocab_size:
            raise ValueError(f"separator {separator} lies outside the vocabulary, 0 to {vocab_size - 1}")
        ids = _checked(tokens, vocab_size)
        if not np.any(ids != separator):
            raise ValueError("no training data: the tokens are empty or hold nothing but separators")
        if ids[0] != separator:
            raise ValueError(f"training tokens must begin with the separator {separator}, not with {ids[0]}")
        return cls(tuple(_estimate(ids, order, vocab_size, separator)), vocab_size, separator)

    @property
    def discounts(self) -> tuple[Discounts, ...]:
        """For each order from 1 up, what n-grams with count 1, 2 and 3 or more lose."""
        return tuple(level.discounts for level in self._orders)

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many different n-grams each order holds, from 1 up; order 1 holds the whole vocabulary."""
        return tuple(level.keys.size for level in self._orders)

    def log_probabilities(self, tokens: NDArray[Any]) -> Floats:
        """Natural log of the probability of each of `tokens`, (N,), given its document up to there.

        Separators are given, not predicted: they get 0.0, so that the sum over the array is the documents'
        total. Count the predictions with `tokens != separator`. An array that begins inside a document is
        scored with the context that is there. Raises ValueError for ids outside the vocabulary.
        """
        ids = _checked(tokens, self.vocab_size)
        probability = np.full(ids.shape, 1.0 / (self.vocab_size - 1))
        context = np.zeros_like(ids)
        for level, rows in zip(self._orders, self._walk(ids), strict=True):
            probability = level.kept[rows] + level.backoff[context] * probability
            context = _shifted(rows)
        probability[ids == self.separator] = 1.0
        logarithms: Floats = np.log(probability)
        return logarithms

    def distribution(self, context: Sequence[int]) -> Floats:
        """Probability of each token of the vocabulary, (V,), after `context`, cut at its last separator.

        An empty context means that nothing is known; the start of a document is `[separator]`. Raises
        ValueError for ids outside the vocabulary.
        """
        probability = np.full(self.vocab_size, 1.0 / (self.vocab_size - 1))
        probability[self.separator] = 0.0
        for level, row in zip(self._orders, self._context_rows(context), strict=False):
            span = np.array([row, row + 1]) * self.vocab_size
            begin, end = np.searchsorted(level.keys, span) if row != ABSENT else (0, 0)
            probability *= level.backoff[row]
            probability[level.keys[begin:end] % self.vocab_size] += level.kept[begin:end]
        return probability

    def _walk(self, ids: Integers) -> Iterator[Integers]:
        """For each order from 1 up, the row of the n-gram that ends at each token."""
        rows = ids
        yield rows
        for level in self._orders[1:]:
            reachable, keys = _extend(rows, ids, self.vocab_size, self.separator)
            rows = np.full_like(ids, ABSENT)
            rows[reachable] = level.rows(keys)
            yield rows

    def _context_rows(self, context: Sequence[int]) -> Iterator[int]:
        """The rows of the contexts that orders 1, 2, 3 ... condition on: the last 0, 1, 2 ... tokens."""
        yield 0
        ids = _checked(np.asarray(context), self.vocab_size)[-self.order :]
        if ids.size:
            yield from (int(rows[-1]) for rows in self._walk(ids))


def _checked(tokens: NDArray[Any], vocab_size: int) -> Integers:
    """`tokens` as flat int64 ids, all of them inside the vocabulary; ValueError otherwise."""
    array = np.asarray(tokens)
    if array.ndim != 1 or (array.size and not np.issubdtype(array.dtype, np.integer)):
        raise ValueError(f"tokens must be a flat array of integers, not {array.dtype} of shape {array.shape}")
    if array.size and (array.min() < 0 or array.max() >= vocab_size):
        bounds = f"{array.min()} to {array.max()}"
        raise ValueError(f"token ids {bounds} lie outside the vocabulary, 0 to {vocab_size - 1}")
    return array.astype(np.int64)


def _shifted(rows: Integers) -> Integers:
    """The row of the n-gram that ends one token earlier, which is the context at the next order."""
    return np.concatenate([np.full(min(1, rows.size), ABSENT, dtype=np.int64), rows[:-1]])


def _extend(
    rows: Integers, ids: Integers, vocab_size: int, separator: int
) -> tuple[NDArray[np.bool_], Integers]:
    """Where an n-gram of the next order ends, and its key there; `rows` are the present order's."""
    context = _shifted(rows)
    # Above order 1 no n-gram ends in a separator, so it can only stand first: none spans two documents.
    reachable = (context != ABSENT) & (ids != separator)
    return reachable, context[reachable] * vocab_size + ids[reachable]


def _estimate(ids: Integers, order: int, vocab_size: int, separator: int) -> Iterator[_Order]:
    """The tables from order 1 up; each needs the counts of the one above for its continuation counts."""
    tokens = np.arange(vocab_size)
    raw = np.bincount(ids[ids != separator], minlength=vocab_size)
    counts = _Counts(tokens, raw, np.zeros_like(tokens), tokens == separator, ids)
    contexts = 1
    for _ in range(1, order):
        longer = _count_longer(counts, ids, vocab_size, separator)
        continuations = np.bincount(longer.suffix, minlength=counts.keys.size)
        adjusted = np.where(counts.opens, counts.raw, continuations)
        yield _smooth(counts.keys, adjusted, contexts, vocab_size)
        counts, contexts = longer, counts.keys.size
    yield _smooth(counts.keys, counts.raw, contexts, vocab_size)


def _count_longer(counts: _Counts, ids: Integers, vocab_size: int, separator: int) -> _Counts:
    """Count the n-grams one token longer than those of `counts`."""
    reachable, occurrences = _extend(counts.rows, ids, vocab_size, separator)
    keys, first, inverse, raw = np.unique(
        occurrences, return_index=True, return_inverse=True, return_counts=True
    )
    rows = np.full_like(ids, ABSENT)
    rows[reachable] = inverse
    suffix = counts.rows[reachable][first]
    return _Counts(keys, raw, suffix, counts.opens[keys // vocab_size], rows)


def _smooth(keys: Integers, counts: Integers, contexts: int, vocab_size: int) -> _Order:
    """Discount the (adjusted) counts of one order and normalise them within each context."""
    discounts = _discounts(counts)
    taken = np.array([0.0, *discounts])[np.minimum(counts, 3)]
    prefix = keys // vocab_size
    total = np.bincount(prefix, weights=counts, minlength=contexts)
    divisor = np.maximum(total, 1.0)
    left = np.bincount(prefix, weights=taken, minlength=contexts) / divisor
    kept = np.append((counts - taken) / divisor[prefix], 0.0)
    return _Order(keys, kept, np.append(np.where(total > 0, left, 1.0), 1.0), discounts)


def _discounts(counts: Integers) -> Discounts:
    """Chen & Goodman's D1, D2 and D3+, from how many n-grams have count 1, 2, 3 and 4.

    `FALLBACK_DISCOUNTS` stand in, for the whole order, where one of the four numbers is zero or an estimate
    leaves (0, j]: tiny corpora, and the unigrams of a sub-word vocabulary, few of which are rare. A discount
    of zero is refused because it could leave unseen tokens without probability.
    """
    n1, n2, n3, n4 = np.bincount(np.minimum(counts, 5), minlength=6)[1:5].tolist()
    if not (n1 and n2 and n3 and n4):
        return FALLBACK_DISCOUNTS
    share = n1 / (n1 + 2 * n2)
    estimate = (1 - 2 * share * n2 / n1, 2 - 3 * share * n3 / n2, 3 - 4 * share * n4 / n3)
    return estimate if all(0 < amount <= j for j, amount in enumerate(estimate, 1)) else FALLBACK_DISCOUNTS
