"""What data or a model says is shown, and does nothing."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tasks.reporting.page import Section
from tasks.reporting.safe_text import LONGEST, safe, safe_lines, visible

PAYLOADS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[click](javascript:alert(1))",
    "![track](https://elsewhere.example/x.png)",
    "https://elsewhere.example www.elsewhere.example",
    "`code` ``more`` ```fence```",
    "a | b | c",
    "**bold** _it_ ~~no~~ # not a heading",
    "\x1b[31mred\x1b[0m\x07",
    "admin\u202egnp.exe\u2066\u200f",
    "{{7*7}} ${7*7} $x^2$ %7B",
    "&lt;script&gt; &#60;b&#62;",
    "1. one\n2. two\n- three\n> four\n---\n# five",
    "back\\slash \\| pipe",
    "\x00\ud800\ufeff",
    "</td></table><h1>",
]


class Page(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def rendered(text: str) -> Page:
    section = Section("title")
    section.table(("words", "number"), [(text, 1), (text, 2)])
    section.say(f"> *model:* {safe(text)}")
    section.items([f"It says {safe(text)}."])
    return Page(MarkdownIt("gfm-like", {"linkify": False}).render(section.text()))


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_payload_is_rendered_as_the_letters_it_is_made_of(payload: str) -> None:
    page, plain = rendered(payload), rendered("x")
    assert page.tags == plain.tags
    assert page.text.count(visible(payload)) == 4


@given(st.text(max_size=120))
def test_no_text_adds_an_element_or_a_line(text: str) -> None:
    shown = safe(text)
    assert not re.search(r"[<>|\n\r\x1b\u202e]", shown)
    assert rendered(text).tags == rendered("x").tags


def test_invisible_characters_are_named() -> None:
    assert safe("a\x1b[0m\u202eb\tc") == "aU+001B\\[0mU+202EbU+0009c"


def test_long_text_is_cut_and_says_so() -> None:
    assert safe("x" * 5_000) == "x" * (LONGEST - 1) + "…"
    assert safe("x" * LONGEST) == "x" * LONGEST


def test_lines_of_a_text_stay_lines_up_to_a_number() -> None:
    assert safe_lines("a\nb <c>") == "a<br>b &#60;c&#62;"
    assert safe_lines("\n".join("abcdef"), lines=3) == "a<br>b<br>c<br>…"
    assert len(safe_lines("y" * 9_000, 100)) == 100
