from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tasks.cleaning.standardisation import UnstableTextError, standardise

TROUBLE = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from("&;#x38amplt\u200b\u202e\u0301\u00ad\r\n\t …—“”‘’\x00\x85\xa0ÃÂâ€™©é\u2028\ufeff"),
    ),
    max_size=60,
)


@given(TROUBLE)
@example("&l\u200bt;")
@example("&amp;" * 40 + "lt;")
@example("e\u200b\u0301")
@example("a\r\n\x0b\x0c\u2028 \t b")
@example("\u1fef \u037e \u2000")
@example("Ã¢â‚¬â„¢")
def test_a_second_pass_changes_nothing(text: str) -> None:
    once = standardise(text)
    assert standardise(once) == once


@given(TROUBLE)
def test_nothing_invisible_is_left_and_the_form_is_nfc(text: str) -> None:
    result = standardise(text)
    assert unicodedata.is_normalized("NFC", result)
    assert not [c for c in result if unicodedata.category(c) in ("Cc", "Cf", "Cs") and c != "\n"]
    assert not [line for line in result.split("\n") if line.endswith(" ")]
    assert "\n\n\n" not in result


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("“It’s here” – now…", '"It\'s here" - now...'),
        ("ago—never", "ago--never"),
        ("schÃ¶n and voilÃ\xa0", "schön and voilà"),
        ("Tom &amp;amp; Jerry &lt;3 &#8220;ha&#8221;", 'Tom & Jerry <3 "ha"'),
        ("?a&copy_to=b", "?a&copy_to=b"),
        ("« bonjour »", "« bonjour »"),
        ("pay\u202epal\u200b.com\ufeff", "paypal.com"),
        ("one\r\ntwo\rthree\u2028four", "one\ntwo\nthree\nfour"),
        ("a\n\n\n\n\nb  \n", "a\n\nb"),
        ("if x:\n\treturn  y", "if x:\n    return y"),
        ("`code`", "`code`"),
        ("\u00a0 \u200b ", ""),
    ],
)
def test_one_form(raw: str, expected: str) -> None:
    assert standardise(raw) == expected


@pytest.mark.parametrize(
    "raw", ["&" + "amp;" * 300_000, "&" * 300_000, " " * 1_000_000 + "x", "\n" * 1_000_000]
)
def test_hostile_text_takes_time_in_proportion_to_its_length(raw: str) -> None:
    started = time.process_time()
    standardise(raw)
    assert time.process_time() - started < 5


def test_a_text_that_never_settles_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.cleaning.standardisation._tidy_lines", lambda text: text + "x")
    with pytest.raises(UnstableTextError, match="16 rounds"):
        standardise("a")
