"""What counts as repeated, against slow and obvious counts of the same."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tasks.cleaning.repetition import NGrams, Repeated, repeated

FEW_WORDS = st.lists(st.sampled_from(["a", "bb", "ccc", "d"]), max_size=30)


def test_the_first_of_equal_pieces_is_no_repetition() -> None:
    assert repeated(["abc", "d", "abc", "abc"]) == Repeated(2 / 4, 6 / 10)
    assert repeated([]) == Repeated(0.0, 0.0) == repeated(["one"])


def test_a_character_in_several_ngrams_counts_once() -> None:
    assert NGrams(["a"] * 6).repeated_share(5) == 5 / 6  # all but the first letter
    assert NGrams(["a"] * 6).top_share(2) == 1.0


def test_of_equally_frequent_ngrams_the_longest_counts() -> None:
    assert NGrams(["x", "y", "long", "word", "x", "y", "long", "word"]).top_share(2) == 16 / 20


def test_what_stands_once_is_not_frequent() -> None:
    assert NGrams(["two", "words"]).top_share(2) == NGrams([]).top_share(2) == 0.0
    assert NGrams(["one"]).repeated_share(5) == 0.0


def slow_shares(words: list[str], n: int) -> tuple[float, float]:
    grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    again = {i + k for i, gram in enumerate(grams) if gram in grams[:i] for k in range(n)}
    top: set[int] = set()
    counts = Counter(grams)
    if counts and max(counts.values()) > 1:
        best = max(grams, key=lambda gram: (counts[gram], sum(map(len, gram)), -grams.index(gram)))
        top = {i + k for i, gram in enumerate(grams) if gram == best for k in range(n)}
    total = max(1, sum(map(len, words)))
    return sum(len(words[i]) for i in top) / total, sum(len(words[i]) for i in again) / total


@given(FEW_WORDS, st.permutations(range(2, 11)))
def test_ngrams_agree_with_a_slow_count_in_whatever_order_they_are_asked(
    words: list[str], order: list[int]
) -> None:
    ngrams = NGrams(words)
    for n in order:
        assert (ngrams.top_share(n), ngrams.repeated_share(n)) == slow_shares(words, n)
