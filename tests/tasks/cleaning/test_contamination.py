from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.cleaning.contamination import Contamination, HeldOut
from tasks.cleaning.page import Finding
from tasks.cleaning.shingles import text_key, word_hashes, words

EXAM = [f"exam{i}" for i in range(40)]


def check(held_out: HeldOut, text: str) -> Finding | None:
    tokens = words(text)
    return held_out.check(word_hashes(text, tokens), text_key(text, tokens))


def test_thirteen_words_in_a_row_are_found_and_twelve_are_not(prose: Callable[..., str]) -> None:
    index = HeldOut({"qa": [" ".join(EXAM)]}, 13)
    for count, found in ((12, False), (13, True)):
        text = f"{prose(1)} {' '.join(EXAM[5 : 5 + count]).upper()}; {prose(2)}"
        assert bool(check(index, text)) is found


def test_the_number_of_shared_sequences_is_reported() -> None:
    exam = " ".join(EXAM)
    finding = check(HeldOut({"qa": [exam]}, 13), exam)
    assert finding and finding.rule == "contamination" and finding.value == 28
    assert finding.reason == "shares 28 sequences of 13 words with held-out texts of qa"


@pytest.mark.parametrize(
    ("text", "found"), [("so GOOD!", True), ("it was so good today", False), ("so", False)]
)
def test_a_short_text_counts_only_as_a_whole(text: str, found: bool) -> None:
    assert bool(check(HeldOut({"sentiment": ["So good."]}, 13), text)) is found


@pytest.mark.parametrize("sets", [{}, {"qa": []}])
def test_without_held_out_texts_nothing_is_contaminated(
    sets: dict[str, list[str]], prose: Callable[..., str]
) -> None:
    assert check(HeldOut(sets, 13), prose(1)) is None


def test_every_set_has_its_own_books(prose: Callable[..., str]) -> None:
    first, second = " ".join(EXAM[:20]), " ".join(EXAM[15:])
    index = HeldOut({"a": [first, first, "So good."], "b": [second, prose(3)]}, 13)
    assert check(index, f"{prose(1)} {' '.join(EXAM[:13])}")
    both = check(index, f"{prose(2)} {' '.join(EXAM)}")
    assert both and both.reason.endswith("of a, b")
    assert check(index, "so good")
    assert check(index, prose(1)) is None
    assert index.books() == {
        "a": Contamination(texts=2, short=1, found=2, documents=3),
        "b": Contamination(texts=2, short=0, found=1, documents=1),
    }


@given(
    st.lists(st.lists(st.sampled_from("abcd"), min_size=1, max_size=9), max_size=6),
    st.lists(st.sampled_from("abcd"), min_size=1, max_size=30),
)
def test_the_index_answers_as_a_plain_search_does(exams: list[list[str]], document: list[str]) -> None:
    n = 3

    def grams(tokens: list[str]) -> set[tuple[str, ...]]:
        return {tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)}

    long = [exam for exam in exams if len(exam) >= n]
    whole = document in [exam for exam in exams if len(exam) < n]
    shared = set().union(*map(grams, long)) & grams(document)
    index = HeldOut({"set": [" ".join(exam) for exam in exams]}, n)
    finding = check(index, " ".join(document))
    assert bool(finding) == (whole or bool(shared))
    touched = {tuple(exam) for exam in long if grams(exam) & grams(document)}
    assert index.books()["set"].found == (1 if whole else len(touched))
