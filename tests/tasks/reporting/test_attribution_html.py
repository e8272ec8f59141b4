"""Coloured tokens and the page around them: nothing of the data may become markup."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from tasks.reporting.attribution_html import GREEN, RED, level, merged, spans
from tasks.reporting.explanation_page import Explained, Source, explanation_page
from tests.payloads import PAYLOADS

HOSTILE = "</title></style><script>alert(1)</script><img src=x onerror=y>\x1b[31m\u202e{{ 7 * 7 }}\"'&amp;"


class Reader(HTMLParser):
    """Collects elements and their text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    return reader


EXPLAINED = Explained(
    task="sentiment",
    headline="positive",
    probability=0.875,
    pieces=("", "good", " film"),
    scores=(0.0, 0.5, -0.25),
    unit="probability",
    checks=(("completeness error", "0.1%"),),
    alternatives_title="All labels",
    alternatives=(("positive", 0.875), ("negative", 0.125)),
    neighbours=(Source("id-1", "a good film", "ours", "CC0-1.0"),),
)


def test_colours_follow_the_sign_and_the_size() -> None:
    html = str(spans(("good", " bad", " so"), (0.4, -0.2, 0.0001)))
    good, bad, neither = re.findall(r'<span style="([^"]*)" title', html)
    assert GREEN in good
    assert RED not in good
    assert RED in bad
    assert "dotted" in bad
    assert GREEN not in neither
    assert RED not in neither
    strength = [float(re.search(r"/([0-9.]+)\)", style).group(1)) for style in (good, bad)]  # type: ignore[union-attr]
    assert strength[0] > strength[1] > 0
    assert 'title="+0.4000"' in html


def test_the_text_stays_letter_for_letter() -> None:
    pieces = ("", "A  café", "\n", " <b>&", "   ", "end")
    assert read(str(spans(pieces, [0.1] * 6))).text == "".join(pieces)


def test_nothing_of_the_data_becomes_markup() -> None:
    reader = read(str(spans((HOSTILE, HOSTILE), (1.0, -1.0))))
    assert set(reader.tags) == {"span"}
    assert {name for name, _ in reader.attributes} == {"style", "title"}
    assert "\x1b" not in reader.text
    assert "\u202e" not in reader.text
    assert "U+001B" in reader.text


def test_an_empty_piece_counts_with_the_one_before() -> None:
    assert merged(("", "🙂", "", "", "x"), (9.0, 1.0, 2.0, 3.0, 4.0)) == [("🙂", 6.0), ("x", 4.0)]
    with pytest.raises(ValueError, match="zip"):
        spans(("a",), ())


def test_scores_without_a_largest_one_are_plain() -> None:
    assert level(0.0, 0.0) == 0
    assert level(float("nan"), 1.0) == 0
    assert level(-3.0, 1.0) == -9
    assert "rgb" not in str(spans(("a", "b"), (0.0, 0.0)))
    assert "rgb" not in str(spans((), ()))


def test_the_page_stands_alone() -> None:
    page = explanation_page(EXPLAINED)
    reader = read(page)
    assert not {"script", "link", "img", "iframe", "object", "form", "a"} & set(reader.tags)
    assert not {name for name, _ in reader.attributes} & {"src", "href", "action", "onclick"}
    assert not re.search(r"https?:|url\(|@import", page)
    assert "default-src 'none'" in page
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page
    for shown in ("positive", "87.5 %", "+0.500", "-0.250", "0.1%", "a good film", "CC0-1.0", "12.5 %"):
        assert shown in reader.text


@pytest.mark.parametrize("text", [HOSTILE, *PAYLOADS])
def test_the_page_escapes_everything_of_the_data(text: str) -> None:
    hostile = replace(
        EXPLAINED,
        headline=text,
        pieces=("", text, text),
        alternatives=((text, 0.5),),
        neighbours=(Source(text, text, text, text),),
    )
    plain, attacked = read(explanation_page(EXPLAINED)), read(explanation_page(hostile))
    assert set(attacked.tags) == set(plain.tags)
    assert {name for name, _ in attacked.attributes} == {name for name, _ in plain.attributes}
    assert "\x1b" not in attacked.text
    assert "\u202e" not in attacked.text
    assert "{{ 7 * 7 }}" in attacked.text or text != HOSTILE


def test_a_page_without_scores_and_neighbours() -> None:
    bare = replace(EXPLAINED, pieces=("",), scores=(0.0,), alternatives=(), neighbours=())
    text = read(explanation_page(bare)).text
    assert "Training documents" not in text
    assert "All labels" not in text
