from __future__ import annotations

from collections.abc import Callable

import pytest

from tasks.cleaning.contamination import HeldOut
from tasks.cleaning.rules import Finding
from tasks.cleaning.shingles import text_key, word_hashes, words


def check(held_out: HeldOut, text: str) -> Finding | None:
    tokens = words(text)
    return held_out.check(word_hashes(text, tokens), text_key(text, tokens))


def test_thirteen_words_in_a_row_are_found_and_twelve_are_not(prose: Callable[..., str]) -> None:
    exam = [f"exam{i}" for i in range(40)]
    index = HeldOut([" ".join(exam)], 13)
    for count, found in ((12, False), (13, True)):
        text = f"{prose(1)} {' '.join(exam[5 : 5 + count]).upper()}; {prose(2)}"
        assert bool(check(index, text)) is found


def test_the_number_of_shared_sequences_is_reported() -> None:
    exam = " ".join(f"exam{i}" for i in range(40))
    finding = check(HeldOut([exam], 13), exam)
    assert finding and finding.rule == "contamination" and finding.value == 28


@pytest.mark.parametrize(
    ("text", "found"), [("so GOOD!", True), ("it was so good today", False), ("so", False)]
)
def test_a_short_text_counts_only_as_a_whole(text: str, found: bool) -> None:
    assert bool(check(HeldOut(["So good."], 13), text)) is found


def test_without_held_out_texts_nothing_is_contaminated(prose: Callable[..., str]) -> None:
    assert check(HeldOut([], 13), prose(1)) is None
