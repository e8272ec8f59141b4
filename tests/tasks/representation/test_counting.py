"""What is counted, worked out by hand."""

from __future__ import annotations

import time

import pytest

from tasks.representation.counting import BLAME, OCCUPATION, PRAISE, Counting
from tasks.representation.lexicon import NEGATIVE, OCCUPATIONS, POSITIVE, groups

WOMEN, MEN = "gender: women", "gender: men"


def counting(window: int = 10) -> Counting:
    return Counting(groups(), window)


def test_mentions_are_counted_whatever_their_case() -> None:
    tally = counting().of("She said so. The WOMAN and her husband; a manly womanhood is none.")
    assert tally.mentions == {WOMEN: 3, MEN: 1} and tally.words == 13


def test_of_two_readings_the_longer_one_counts() -> None:
    tally = counting().of("black people and a white man wore black and white; blind people met a blind alley")
    assert tally.mentions == {
        "origin: black people": 1,
        "origin: white people": 1,
        "disability: disabled people": 1,
    }


@pytest.mark.parametrize(("between", "near"), [(2, 1), (3, 0)])
def test_near_ends_where_the_window_does(between: int, near: int) -> None:
    filler = " ".join(["word"] * between)
    for text in (f"she {filler} doctor", f"doctor {filler} she"):
        assert counting(3).of(text).near[WOMEN, OCCUPATION] == near


def test_nothing_is_near_across_a_paragraph() -> None:
    tally = counting().of("She came.\nThe doctor, a kind one, left.")
    assert tally.mentions[WOMEN] == 1 and not tally.near and not tally.occupations


def test_several_words_near_one_mention_count_once_and_each_occupation_for_itself() -> None:
    tally = counting().of("She is a good, wise doctor among wicked nurses and sailors")
    assert tally.near == {(WOMEN, OCCUPATION): 1, (WOMEN, PRAISE): 1, (WOMEN, BLAME): 1}
    assert tally.occupations == {(WOMEN, "doctor"): 1, (WOMEN, "nurse"): 1, (WOMEN, "sailor"): 1}


def test_empty_texts_count_nothing() -> None:
    tally = counting().of("\n \n")
    assert tally.words == 0 and not tally.mentions


def test_the_lists_do_not_overlap() -> None:
    assert not set(POSITIVE) & set(NEGATIVE)
    assert not (set(POSITIVE) | set(NEGATIVE)) & set(OCCUPATIONS)
    for words in (POSITIVE, NEGATIVE, OCCUPATIONS):
        assert len(set(words)) == len(words) >= 50


@pytest.mark.parametrize(
    ("extra", "wrong"),
    [
        ({"mine": ("her",)}, "'her' stands for 'gender: women' and for 'mine'"),
        ({"mine": ("one two three",)}, "is not one or two words"),
        ({"mine": (" ",)}, "is not one or two words"),
    ],
)
def test_words_of_two_groups_are_refused(extra: dict[str, tuple[str, ...]], wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        groups(extra)


def test_groups_of_ones_own_are_counted() -> None:
    tally = Counting(groups({"trade: millers": ("Miller", "mill  hand")}), 5).of("A miller met a mill hand.")
    assert tally.mentions == {"trade: millers": 2}


def test_a_line_of_twenty_megabytes_takes_seconds() -> None:
    started = time.monotonic()
    tally = counting().of("she is a good doctor and he " * 700_000)
    assert tally.mentions[WOMEN] == 700_000 and time.monotonic() - started < 120
