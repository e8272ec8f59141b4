"""The Kneser-Ney baseline against a slow reference, hand-worked numbers and the laws of probability."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.ngram import FALLBACK_DISCOUNTS, KneserNey

Gram = tuple[int, ...]
VOCABULARY = 7

documents = st.lists(st.lists(st.integers(1, VOCABULARY - 2), max_size=12), min_size=1, max_size=12)


def flat(texts: Sequence[Sequence[int]], separator: int = 0) -> NDArray[np.int64]:
    return np.array([token for text in texts for token in (separator, *text)], dtype=np.int64)


def zipf_documents(
    seed: int, tokens: int, vocabulary: int, length: int = 40, habit: float = 0.5
) -> NDArray[np.int64]:
    """Skewed tokens with two favourite successors each, chosen with probability `habit`; equal documents."""
    generator = np.random.default_rng(seed)
    ranks = 1.0 / np.arange(1, vocabulary)
    drawn = generator.choice(np.arange(1, vocabulary), size=tokens, p=ranks / ranks.sum())
    follow = generator.random(tokens) < habit
    for place in np.flatnonzero(follow[1:]) + 1:
        drawn[place] = 1 + (drawn[place - 1] * 3 + drawn[place] % 2) % (vocabulary - 1)
    drawn[::length] = 0
    return drawn


class Reference:
    """Modified Kneser-Ney as the paper writes it: dictionaries, sets and one recursion per probability."""

    def __init__(self, texts: Sequence[Sequence[int]], order: int, vocabulary: int) -> None:
        self.order, self.vocabulary = order, vocabulary
        raw: dict[int, Counter[Gram]] = {k: Counter() for k in range(1, order + 1)}
        left: dict[Gram, set[int]] = defaultdict(set)
        for text in texts:
            padded = (0, *text)
            for end in range(1, len(padded)):
                for k in range(1, min(order, end + 1) + 1):
                    gram = padded[end - k + 1 : end + 1]
                    raw[k][gram] += 1
                    if end - k >= 0:
                        left[gram].add(padded[end - k])
        self.counts = {
            k: {g: c if k == order or g[0] == 0 else len(left[g]) for g, c in raw[k].items()} for k in raw
        }
        self.discounts = {k: self._discounts(list(self.counts[k].values())) for k in raw}

    @staticmethod
    def _discounts(counts: list[int]) -> list[float]:
        n = [counts.count(j) for j in range(5)]
        if 0 in n[1:]:
            return [0.5, 1.0, 1.5]
        y = n[1] / (n[1] + 2 * n[2])
        found = [j - (j + 1) * y * n[j + 1] / n[j] for j in (1, 2, 3)]
        return found if all(0 < d <= j for j, d in enumerate(found, 1)) else [0.5, 1.0, 1.5]

    def probability(self, token: int, context: Gram) -> float:
        if 0 in context:
            context = context[len(context) - 1 - context[::-1].index(0) :]
        return self._interpolate(token, context[len(context) - min(len(context), self.order - 1) :])

    def _interpolate(self, token: int, context: Gram) -> float:
        k = len(context) + 1
        lower = self._interpolate(token, context[1:]) if context else 1 / (self.vocabulary - 1)
        followers = {g: c for g, c in self.counts[k].items() if g[:-1] == context}
        if not followers:
            return lower
        taken = {g: self.discounts[k][min(c, 3) - 1] for g, c in followers.items()}
        gram, total = (*context, token), sum(followers.values())
        kept = (followers[gram] - taken[gram]) / total if gram in followers else 0.0
        return kept + sum(taken.values()) / total * lower


def reference_scores(reference: Reference, texts: Sequence[Sequence[int]]) -> list[float]:
    scores = []
    for text in texts:
        scores.append(0.0)
        scores += [math.log(reference.probability(t, (0, *text[:i]))) for i, t in enumerate(text)]
    return scores


@settings(max_examples=60, deadline=None)
@given(train=documents, test=documents, order=st.integers(1, 5))
def test_equals_the_reference_on_small_corpora(
    train: list[list[int]], test: list[list[int]], order: int
) -> None:
    train = [*train, [1]]
    model = KneserNey.fit(flat(train), order, VOCABULARY)
    expected = reference_scores(Reference(train, order, VOCABULARY), test)
    np.testing.assert_allclose(model.log_probabilities(flat(test)), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
def test_equals_the_reference_where_the_discounts_are_estimated(order: int) -> None:
    tokens = zipf_documents(seed=order, tokens=3000, vocabulary=800, length=15, habit=0.8)
    texts = [part.tolist()[1:] for part in np.split(tokens, np.flatnonzero(tokens == 0))[1:]]
    model = KneserNey.fit(tokens, order, 800)
    reference = Reference(texts, order, 800)
    assert FALLBACK_DISCOUNTS not in model.discounts
    np.testing.assert_allclose(model.discounts, [reference.discounts[k] for k in range(1, order + 1)])
    held_out = [texts[3], texts[5][:4] + texts[9][2:], [799, 798, 1, 2]]
    expected = reference_scores(reference, held_out)
    np.testing.assert_allclose(model.log_probabilities(flat(held_out)), expected, rtol=0, atol=1e-12)


def test_numbers_worked_by_hand() -> None:
    # Bigrams: (0,1) twice, (1,2) and (1,3) once; 1, 2 and 3 each follow one other token; fallback discounts.
    model = KneserNey.fit(flat([[1, 2], [1, 3]]), order=2, vocab_size=5)
    np.testing.assert_allclose(model.distribution([]), [0, 7 / 24, 7 / 24, 7 / 24, 3 / 24])
    np.testing.assert_allclose(model.distribution([0])[1], 31 / 48)
    np.testing.assert_allclose(model.distribution([1])[2], 19 / 48)
    np.testing.assert_allclose(model.distribution([2]), model.distribution([]))
    assert model.discounts == (FALLBACK_DISCOUNTS, FALLBACK_DISCOUNTS)
    assert model.sizes == (5, 3)


def test_lower_orders_count_contexts_not_occurrences() -> None:
    # 2 is frequent but only ever follows 1; 3 is rarer and follows many: after the unknown, 3 is likelier.
    model = KneserNey.fit(flat([[1, 2]] * 20 + [[4, 3], [5, 3], [6, 3]]), order=2, vocab_size=9)
    after_unknown = model.distribution([8])
    assert after_unknown[3] > after_unknown[2]


@pytest.mark.parametrize("order", [1, 2, 3, 5, 8])
def test_distributions_sum_to_one_and_leave_nothing_impossible(order: int) -> None:
    tokens = zipf_documents(seed=11, tokens=4000, vocabulary=60)
    model = KneserNey.fit(tokens, order, vocab_size=64)
    seen = [tokens[i - 6 : i].tolist() for i in range(100, 4000, 397)]
    unseen = [[], [0], [63], [0, 63, 62], [59, 59, 59, 59], [5, 0, 7], *([*context, 63] for context in seen)]
    for context in seen + unseen:
        distribution = model.distribution(context)
        assert distribution.shape == (64,)
        assert abs(distribution.sum() - 1) < 1e-9
        assert distribution[0] == 0
        assert (distribution[1:] > 0).all()


@settings(max_examples=40, deadline=None)
@given(train=documents, context=st.lists(st.integers(0, VOCABULARY - 1), max_size=8), order=st.integers(1, 6))
def test_any_distribution_sums_to_one(train: list[list[int]], context: list[int], order: int) -> None:
    distribution = KneserNey.fit(flat([*train, [2]]), order, VOCABULARY).distribution(context)
    assert abs(distribution.sum() - 1) < 1e-9
    assert (distribution[1:] > 0).all()


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("cut", [0, 17], ids=["from a document's start", "from inside a document"])
def test_log_probabilities_agree_with_distributions(order: int, cut: int) -> None:
    model = KneserNey.fit(zipf_documents(seed=1, tokens=3000, vocabulary=40), order, vocab_size=42)
    tokens = zipf_documents(seed=2, tokens=200, vocabulary=42)[cut:]
    scores = model.log_probabilities(tokens)
    for place, token in enumerate(tokens.tolist()):
        expected = 0.0 if token == 0 else math.log(model.distribution(tokens[:place].tolist())[token])
        assert scores[place] == pytest.approx(expected, abs=1e-12)


def test_higher_orders_win_where_the_text_has_structure() -> None:
    # A token depends on the sum of the two before it: a bigram sees little of that, a trigram all of it.
    generator = np.random.default_rng(3)
    tokens = generator.integers(1, 12, size=30_000)
    for place in range(2, tokens.size):
        if generator.random() < 0.9:
            tokens[place] = 1 + (tokens[place - 1] + tokens[place - 2]) % 11
    tokens[::50] = 0
    train, test = tokens[:25_000], tokens[25_000:]
    mean = {k: KneserNey.fit(train, k, 12).log_probabilities(test).mean() for k in (1, 2, 3, 5)}
    assert mean[3] > mean[2] + 0.5
    assert mean[3] > mean[1] + 0.5
    assert abs(mean[5] - mean[3]) < 0.2


def test_documents_are_independent_of_their_neighbours() -> None:
    first, second = [1, 2, 3, 1, 2], [3, 3, 1]
    model = KneserNey.fit(flat([first, second, first]), order=4, vocab_size=5)
    together = model.log_probabilities(flat([first, second]))
    apart = [model.log_probabilities(flat([first])), model.log_probabilities(flat([second]))]
    np.testing.assert_array_equal(together, np.concatenate(apart))
    np.testing.assert_array_equal(model.distribution([*first, 0, 3]), model.distribution([0, 3]))


def test_the_order_of_documents_does_not_matter() -> None:
    texts = [[1, 2, 3], [4, 1], [2, 2, 2, 5], [], [1, 2, 4]]
    ahead, back = (KneserNey.fit(flat(t), order=3, vocab_size=6) for t in (texts, texts[::-1]))
    np.testing.assert_array_equal(ahead.log_probabilities(flat(texts)), back.log_probabilities(flat(texts)))


def test_the_same_data_gives_the_same_model() -> None:
    tokens = zipf_documents(seed=5, tokens=3000, vocabulary=50)
    once, again = (KneserNey.fit(tokens, order=4, vocab_size=50) for _ in range(2))
    narrow = KneserNey.fit(tokens.astype(np.uint16), order=4, vocab_size=50)
    for other in (again, narrow):
        np.testing.assert_array_equal(once.log_probabilities(tokens), other.log_probabilities(tokens))


def test_the_separator_can_be_any_token() -> None:
    texts = [[1, 2, 3, 1], [2, 2, 1]]
    shifted = [[token - 1 for token in text] for text in texts]
    zero = KneserNey.fit(flat(texts), order=3, vocab_size=5).log_probabilities(flat(texts))
    four = KneserNey.fit(flat(shifted, 4), order=3, vocab_size=5, separator=4)
    np.testing.assert_allclose(zero, four.log_probabilities(flat(shifted, 4)), atol=1e-14)


def test_a_wide_vocabulary_at_a_high_order_stays_exact() -> None:
    # Seven ids of 16 bits do not fit 64: n-grams that differ only in their first token must not meet.
    head = [65_535, 65_534, 65_533, 65_532, 65_531, 65_530]
    texts = [[65_529, *head[1:], 1], [65_528, *head[1:], 2]]
    model = KneserNey.fit(flat(texts * 5), order=7, vocab_size=65_536)
    one, two = (model.distribution([first, *head[1:]]) for first in (65_529, 65_528))
    assert one[1] > 0.6 and two[2] > 0.6
    assert abs(one.sum() - 1) < 1e-9


def test_an_order_beyond_every_document_changes_nothing() -> None:
    texts = [[1], [2], [1]]
    bigram, long = (KneserNey.fit(flat(texts), order, vocab_size=4) for order in (2, 6))
    np.testing.assert_array_equal(long.distribution([0]), bigram.distribution([0]))
    assert long.sizes == (4, 2, 0, 0, 0, 0)


def test_nothing_to_score_is_no_error() -> None:
    model = KneserNey.fit(flat([[1, 2]]), order=3, vocab_size=4)
    assert model.log_probabilities(np.array([], dtype=np.uint16)).shape == (0,)
    np.testing.assert_array_equal(model.log_probabilities(np.array([0, 0])), [0.0, 0.0])


@pytest.mark.parametrize(
    ("tokens", "arguments", "message"),
    [
        ([], {}, "no training data"),
        ([0, 0], {}, "no training data"),
        ([1, 2], {}, "begin with the separator"),
        ([0, 4], {}, "outside the vocabulary"),
        ([0, -1], {}, "outside the vocabulary"),
        ([0.0, 1.0], {}, "flat array of integers"),
        ([[0, 1]], {}, "flat array of integers"),
        ([0, 1], {"order": 0}, "at least 1"),
        ([0, 1], {"separator": 4}, "outside the vocabulary"),
    ],
)
def test_refuses_what_it_cannot_learn_from(
    tokens: list[Any], arguments: dict[str, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        KneserNey.fit(np.array(tokens), **{"order": 2, "vocab_size": 4, **arguments})


def test_refuses_to_score_ids_outside_the_vocabulary() -> None:
    model = KneserNey.fit(flat([[1, 2]]), order=2, vocab_size=4)
    with pytest.raises(ValueError, match="outside the vocabulary"):
        model.log_probabilities(np.array([0, 4]))
    with pytest.raises(ValueError, match="outside the vocabulary"):
        model.distribution([4, 1, 1, 1])
