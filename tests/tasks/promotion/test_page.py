"""The pages of a decision: whatever a gate, a model or a reason is called, it stays text (matrix row 23)."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt

from tasks.promotion import page
from tasks.promotion.decision import Decision, Reason
from tests.payloads import PAYLOADS


class Elements(HTMLParser):
    """Every element with the names of its attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, tuple[str, ...]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, tuple(name for name, _ in attrs)))


def shown(text: str) -> tuple[str, str]:
    """Both pages of a decision with the text in every place."""
    reason = Reason(gate=text, verdict="fail", sentence=text, value=0.1, low=0.0, high=0.2, margin=0.05, n=7)
    decision = Decision("refuse", (reason,))
    markdown = MarkdownIt("gfm-like", {"linkify": False}).render(page.markdown(decision, text))
    return page.html(decision, text), markdown


@pytest.mark.parametrize("payload", PAYLOADS)
def test_hostile_names_change_no_element(payload: str) -> None:
    for attacked, plain in zip(shown(payload), shown("plain words"), strict=True):
        assert Elements(attacked).found == Elements(plain).found
        assert "\x1b" not in attacked and "\u202e" not in attacked
