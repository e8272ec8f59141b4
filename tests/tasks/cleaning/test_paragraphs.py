"""Paragraphs that several documents share stay in one of them, whichever order they come in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tasks.cleaning.paragraphs import Paragraphs

LONG = "The connection is returned to the pool when the block ends."
OTHER = "A cursor reads the rows of a result one after the other."
HEADING = "See also"


def _thin(documents: dict[str, str], order: list[str] | None = None) -> dict[str, str]:
    paragraphs = Paragraphs(min_words=8)
    paragraphs.learn((name, documents[name]) for name in order or documents)
    return {name: paragraphs.thinned(name, text, "web") for name, text in documents.items()}


def test_a_shared_paragraph_stays_in_the_document_with_the_smallest_id() -> None:
    found = _thin({"b": f"{LONG}\n\n{OTHER}", "a": f"{HEADING}\n\n{LONG}\n\nMore."})
    assert found == {"b": OTHER, "a": f"{HEADING}\n\n{LONG}\n\nMore."}


def test_case_and_spacing_do_not_hide_a_repetition_and_short_lines_may_repeat() -> None:
    found = _thin({"a": f"{HEADING}\n{LONG}", "b": f"{HEADING}\n{LONG.upper()}\n{OTHER}"})
    assert found["b"] == f"{HEADING}\n{OTHER}"


def test_within_a_document_the_first_stays() -> None:
    assert _thin({"a": f"{LONG}\n{OTHER}\n{LONG}"}) == {"a": f"{LONG}\n{OTHER}"}


def test_what_was_removed_is_counted() -> None:
    paragraphs = Paragraphs(min_words=8)
    paragraphs.learn([("a", LONG), ("b", LONG)])
    paragraphs.thinned("b", LONG, "web")
    assert paragraphs.removed == {"web": 1}
    assert paragraphs.removed_bytes == {"web": len(LONG)}


_TEXTS = st.lists(st.sampled_from([LONG, OTHER, HEADING, ""]), max_size=5).map("\n".join)


@given(st.dictionaries(st.sampled_from("abcd"), _TEXTS, min_size=1), st.randoms())
def test_every_long_paragraph_is_left_exactly_once_whatever_the_order(
    documents: dict[str, str], random: object
) -> None:
    order = list(documents)
    random.shuffle(order)  # type: ignore[attr-defined]
    found = _thin(documents, order)
    assert found == _thin(documents)
    for paragraph in (LONG, OTHER):
        before = sum(text.split("\n").count(paragraph) for text in documents.values())
        assert sum(text.split("\n").count(paragraph) for text in found.values()) == min(before, 1)
    assert _thin(found) == found
