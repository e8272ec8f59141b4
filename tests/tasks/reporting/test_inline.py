"""A line of the report's Markdown as HTML: our marks become elements, everything else stays letters."""

from __future__ import annotations

import re
from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.reporting.inline import to_html
from tasks.reporting.safe_text import cut, safe, safe_lines, visible


@given(st.text(max_size=200))
def test_words_of_the_data_come_out_letter_by_letter(text: str) -> None:
    html = str(to_html(f"**{safe(text)}** *x*"))
    found = re.fullmatch(r"<strong>([^<>]*)</strong> <em>x</em>", html)
    assert found and unescape(found[1]) == visible(cut(text, 2_000))


@given(st.text(alphabet="*<>br\\&#39;_ a", max_size=40))
def test_whatever_stands_in_a_line_the_elements_are_ours_and_closed(text: str) -> None:
    html = str(to_html(text))
    found = re.findall(r"<[^>]*>", html)
    assert set(found) <= {"<strong>", "</strong>", "<em>", "</em>", "<br>"}
    for name in ("strong", "em"):
        assert found.count(f"<{name}>") == found.count(f"</{name}>")


@pytest.mark.parametrize(
    ("line", "html"),
    [
        ("**bold** and *slanted*", "<strong>bold</strong> and <em>slanted</em>"),
        ("a \\*b\\* &#60;c&#62; <d>", "a *b* &lt;c&gt; &lt;d&gt;"),
        ("**never closed", "<strong>never closed</strong>"),
        ("5 &#999999; \\z", "5 &amp;#999999; \\z"),
        (safe_lines("one\ntwo <b>"), "one<br>two &lt;b&gt;"),
    ],
)
def test_examples(line: str, html: str) -> None:
    assert str(to_html(line)) == html
