"""Reports of a contract: what data and configuration put into them stays text."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import contracts_report, validation
from tests.payloads import PAYLOADS


class Page(HTMLParser):
    """What a browser would see of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect a tag."""
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        """Collect text."""
        self.text += data


def poisoned(payload: str) -> validation.ContractResult:
    """A result with a payload wherever data or configuration can put text."""
    entry = contracts_report.ExpectationResult(
        expectation=payload,
        column=payload,
        kwargs={"column": payload},
        severity="critical",
        description=payload,
        remedy=payload,
        success=False,
        checked=True,
        unexpected_count=1,
        unexpected_percent=100.0,
        examples=(payload,),
        observed=payload,
        detail=payload,
    )
    return validation.ContractResult(suite=payload, rows=1, success=False, results=(entry,))


@pytest.mark.parametrize("payload", PAYLOADS)
def test_html_holds_no_markup_from_data_and_no_address(payload: str) -> None:
    html = validation.to_html(poisoned(payload))
    page, harmless = Page(html), Page(validation.to_html(poisoned("harmless")))
    assert page.tags == harmless.tags and page.attributes == harmless.attributes
    assert contracts_report.visible(payload) in page.text
    assert not {"script", "img", "a", "link", "iframe"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on") or name in ("src", "href")]
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'; img-src data:") in page.attributes


@pytest.mark.parametrize("payload", PAYLOADS)
def test_markdown_renders_to_text_only(payload: str) -> None:
    markdown_it = pytest.importorskip("markdown_it")
    markdown = validation.to_markdown(poisoned(payload))
    page = Page(markdown_it.MarkdownIt("gfm-like", {"linkify": False}).render(markdown))
    plain = Page(
        markdown_it.MarkdownIt("gfm-like", {"linkify": False}).render(validation.to_markdown(poisoned("x")))
    )
    assert page.tags == plain.tags
    assert " ".join(contracts_report.visible(payload).split()) in " ".join(page.text.split())


@given(st.text(max_size=200))
def test_no_text_escapes_its_markdown_cell_or_its_html_element(text: str) -> None:
    markdown = contracts_report.escape_markdown(text)
    assert not re.search(r"[<>|\n\r\"']", markdown)
    bare = re.sub(r"\\[\\`*_\[\]()#!~:@.]|&(?:[a-z]+|#\d+);", "", markdown)
    assert not set(bare) & set("\\`*_[]()#!~:@&{}")
    assert not re.search(r"[<>\"'\n\r]", contracts_report.escape_html(text))
    assert all(character.isprintable() for character in contracts_report.visible(text))
    assert len(contracts_report.visible("x" * 5_000)) == contracts_report.LONGEST_CELL
