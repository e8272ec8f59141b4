"""C4's rules: the lines they take out, and the pages they drop afterwards."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.cleaning import c4
from tasks.cleaning.language import Language
from tasks.cleaning.page import Page
from tasks.cleaning.published import PublishedRule
from tasks.cleaning.standardisation import standardise

ALL = c4.C4Rules(enabled=True)
GOOD = "This line has more than five words and ends well."


def objects(rule: PublishedRule, text: str) -> bool:
    finding = rule.check(Page(text, "web", Language("en", 0.99), text.split()))
    assert finding is None or (finding.rule == rule.name and finding.reason)
    return finding is not None


@pytest.mark.parametrize(
    ("rule", "stays", "goes"),
    [
        (c4.WordLength(), "x" * 1000 + " end.", "x" * 1001 + " end."),
        (c4.TerminalPunctuation(), 'He said "yes"', "He said (yes)"),
        (c4.TerminalPunctuation(), "Is it so? ", "It is so,"),
        (c4.TerminalPunctuation(), "It is so.", "It is so..."),
        (c4.WordsPerLine(), "This line has five words.", "This line has four."),
        (c4.JavascriptLines(), "Java and script.", "Switch on JavaScript, please."),
        (c4.PolicyLines(), "A cookie is sweet.", "This site USES COOKIES."),
        (c4.PolicyLines(), "The terms were useful.", "Read our Privacy Policy."),
    ],
    ids=lambda value: value.name if isinstance(value, c4.LineRule) else "",
)
def test_each_line_rule_at_its_threshold_and_beyond(rule: c4.LineRule, stays: str, goes: str) -> None:
    assert not rule.refuses(stays)
    assert rule.refuses(goes)


@pytest.mark.parametrize(
    ("rule", "stays", "goes"),
    [
        (c4.LoremIpsum(), "Lorem, then ipsum.", "It began: LOREM ipsum dolor."),
        (c4.CurlyBracket(), "A [bracket] and a (bracket).", "if (a) { b }"),
        (c4.Sentences(), "One. Two! Three?", "One. Two at 3.30 or v1.2"),
    ],
)
def test_each_page_rule_at_its_threshold_and_beyond(rule: PublishedRule, stays: str, goes: str) -> None:
    assert not objects(rule, stays)
    assert objects(rule, goes)


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three?", 3),
        ("One. Two at 3.30 or v1.2", 1),
        ('He said "no." (Really!) And went', 2),
        ("Line\n\nand line\nand line", 3),
        ("Wait?!?! What... ever.", 3),
        ("", 0),
    ],
)
def test_sentences_are_counted_by_their_ends(text: str, sentences: int) -> None:
    if sentences:
        assert not objects(c4.Sentences(minimum=sentences), text)
    assert objects(c4.Sentences(minimum=sentences + 1), text)


def test_lines_go_under_the_first_rule_that_refuses_them() -> None:
    text = "\n".join(
        [
            "Menu",
            "",
            GOOD,
            "",
            "Too short.",
            "Please enable Javascript to see this page.",
            "Javascript uses cookies under our privacy policy.",
            "Here we say that this site uses cookies.",
            "",
            GOOD,
        ]
    )
    left, removed = c4.edit(text, ALL)
    assert left == f"{GOOD}\n\n{GOOD}"
    assert removed == {
        "c4-terminal-punctuation": 1,
        "c4-words-per-line": 1,
        "c4-javascript": 2,
        "c4-policy": 1,
    }


def test_a_text_without_fault_is_the_same_text() -> None:
    text = f"{GOOD}\n\n{GOOD}"
    assert c4.edit(text, ALL) == (text, {})
    assert c4.edit("", ALL) == ("", {})


def test_each_line_rule_can_be_switched_off() -> None:
    text = (
        "Menu\nToo short.\nPlease do enable Javascript here now.\nThis site of ours uses cookies.\n"
        + "x" * 1001
    )
    everything = c4.edit(text, ALL)[1]
    assert everything.total() == 5
    for field in ("terminal_punctuation", "words_per_line", "javascript", "policy", "word_length"):
        config = c4.C4Rules.model_validate({"enabled": True, field: {"enabled": False}})
        off = getattr(config, field).name
        assert off not in c4.edit(text, config)[1]
        assert off in everything


LINES = st.lists(
    st.sampled_from(
        [
            "",
            "  ",
            GOOD,
            f"  {GOOD}",
            "Menu",
            "a b",
            "Stop...",
            "Javascript is on, is it not?",
            "x" * 1001,
            "&amp;",
        ]
    )
    | st.text(max_size=40)
).map("\n".join)


@given(LINES)
def test_a_second_edit_finds_nothing_and_the_standard_form_stays(text: str) -> None:
    text = standardise(text)
    once, removed = c4.edit(text, ALL)
    assert c4.edit(once, ALL) == (once, {})
    assert standardise(once) == once
    assert len(once) <= len(text) and (removed or once == text)


@given(LINES)
def test_every_line_stays_or_is_counted(text: str) -> None:
    once, removed = c4.edit(text, ALL)
    held = [line for line in text.split("\n") if line.strip()]
    left = [line for line in once.split("\n") if line.strip()]
    assert len(left) + removed.total() == len(held)
    assert [line.strip(" \n") for line in left] == [
        line.strip(" \n") for line in held if not any(rule.refuses(line) for rule in ALL.line_rules())
    ]
