"""The suffix array and what it finds, against looking everywhere."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.shards import DocumentTable
from tasks.evaluation.memorisation import covered_tokens
from tasks.evaluation.span_index import SpanIndex, suffix_array

few_tokens = st.lists(st.integers(1, 3), min_size=1, max_size=60)


def table(*lengths: int) -> DocumentTable:
    ends = np.cumsum(lengths)
    names = tuple(f"d{number}" for number in range(len(lengths)))
    return DocumentTable(names, ends - np.array(lengths), ends, np.array(lengths))


def everywhere(text: list[int], query: list[int], at: int) -> int:
    """The longest match of a query from one place on, by comparing with every place of a text."""
    best = 0
    for start in range(len(text)):
        length = 0
        while (
            at + length < len(query)
            and start + length < len(text)
            and query[at + length] == text[start + length] != 0
        ):
            length += 1
        best = max(best, length)
    return best


@settings(max_examples=60, deadline=None)
@given(few_tokens)
def test_suffixes_are_in_order(tokens: list[int]) -> None:
    assert suffix_array(np.array(tokens)).tolist() == sorted(range(len(tokens)), key=lambda at: tokens[at:])


def test_a_text_of_one_token_is_sorted_too() -> None:
    assert suffix_array(np.full(5000, 7)).tolist() == list(range(4999, -1, -1))


@settings(max_examples=60, deadline=None)
@given(few_tokens, st.lists(st.integers(0, 4), max_size=20))
def test_matches_are_those_of_looking_everywhere(tokens: list[int], query: list[int]) -> None:
    text = [0, *tokens, 0, *tokens[:7]]
    index = SpanIndex.build(text, table(1 + len(tokens), 1 + len(tokens[:7])))
    wanted = [everywhere(text, query, at) for at in range(len(query))]
    assert index.match(query).lengths.tolist() == wanted
    assert index.longest(query).length == max(wanted, default=0)


def test_a_span_names_its_document_and_crosses_into_none() -> None:
    text = [0, 5, 6, 7, 8, 0, 9, 10, 11, 0, 6, 7, 8, 9]
    index = SpanIndex.build(text, table(5, 4, 5))
    found = index.longest([1, 6, 7, 8, 9, 10])
    assert (found.start, found.length, found.document, found.occurrences) == (1, 4, "d2", 1)
    assert index.longest([6, 7, 8])[2:] == ("d0", 2)  # the first of the two
    assert index.longest([8, 0, 9, 10])[:3] == (2, 2, "d1")
    assert index.longest([77, 78]) == index.longest([]) == (0, 0, "", 0)


def test_spans_are_those_that_cannot_grow() -> None:
    index = SpanIndex.build([0, 1, 2, 3, 4, 0, 3, 4, 5, 6], table(5, 5))
    assert [tuple(span)[:3] for span in index.spans([1, 2, 3, 4, 5, 6, 9, 2], 2)] == [
        (0, 4, "d0"),
        (2, 4, "d1"),
    ]
    assert index.spans([9, 9]) == index.spans([]) == []


@pytest.mark.parametrize(("least", "wanted"), [(1, 7), (2, 6), (3, 4), (4, 4), (5, 0)])
def test_covered_tokens_count_once(least: int, wanted: int) -> None:
    lengths = np.array([4, 3, 2, 1, 0, 2, 1, 0, 1])  # four, with others inside it; two; one at the end
    assert covered_tokens(lengths, least) == wanted
