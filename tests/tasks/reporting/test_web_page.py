"""The page: one file that asks for nothing, runs nothing, and says what the Markdown says."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from tasks.reporting.blocks import Bounds, Table
from tasks.reporting.config import ReportingConfig
from tasks.reporting.page import Section
from tasks.reporting.report import report
from tasks.reporting.safe_text import visible
from tasks.reporting.web_page import WIDTH, web_page, whiskers
from tests.payloads import PAYLOADS
from tests.tasks.reporting import tiny_run

TOGETHER = (
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "</style></section><svg onload=alert(1)>",
    "\" onmouseover='alert(1)' x=\"",
    "[x](javascript:alert(1)) ![y](https://elsewhere.example/z.png) https://elsewhere.example",
    "a \x1b[31m \u202e b {{ 7 * 7 }} {% raw %} &lt;script&gt; *b* **c** `d` \\",
)


class Page(HTMLParser):
    """What a browser would make of it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.texts).split())


def pages(home: Path, text: str) -> tuple[str, str]:
    """The page and the Markdown of a run with `text` in every place."""
    out = home / "out"
    out.mkdir(parents=True)
    report(tiny_run.shared(text=text, examined=True), ReportingConfig(title=text[:200], picture_dpi=50), out)
    return (out / "report.html").read_text("utf-8"), (out / "report.md").read_text("utf-8")


@pytest.fixture(scope="module")
def harmless(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return pages(tmp_path_factory.mktemp("harmless"), "plain words")


@pytest.mark.parametrize("payload", [*TOGETHER, *PAYLOADS])
def test_hostile_text_changes_neither_elements_nor_attributes(
    tmp_path: Path, payload: str, harmless: tuple[str, str]
) -> None:
    html, markdown = pages(tmp_path, payload)
    page, plain = Page(html), Page(harmless[0])
    told, expected = ([t for t in Page(rendered(each)).tags if t != "br"] for each in (markdown, harmless[1]))
    assert told == expected
    assert not re.search(r"[\x00-\x09\x0b-\x1f\u202e]", markdown)
    if "\n" in payload:  # a line break of a text is shown as one, so that there are more elements
        assert set(page.tags) - {"br"} == set(plain.tags)
        assert {each[:2] for each in page.attributes} == {each[:2] for each in plain.attributes}
    else:
        assert page.tags == plain.tags
        assert [each[:2] for each in page.attributes] == [each[:2] for each in plain.attributes]
    assert not re.search(r"[\x00-\x09\x0b-\x1f\u202e]", html)
    assert all("".join(page.texts).count(visible(line)) >= 20 for line in payload.split("\n"))
    check_harmless(page)


def rendered(markdown: str) -> str:
    return str(MarkdownIt("gfm-like", {"linkify": False}).render(markdown))


def check_harmless(page: Page) -> None:
    assert not {"script", "iframe", "object", "embed", "link", "base", "form", "foreignObject"} & set(
        page.tags
    )
    for tag, name, value in page.attributes:
        assert not name.startswith("on")
        if name in ("src", "href", "srcset", "action", "data", "poster", "xlink:href"):
            assert value.startswith("data:image/png;base64," if tag == "img" else "#"), (tag, name, value)
        if name == "style":
            assert not re.search(r"url|expression|[<>\"'@\\]", value)


def test_the_page_asks_for_nothing(harmless: tuple[str, str]) -> None:
    html, _ = harmless
    page = Page(html)
    check_harmless(page)
    policy = next(value for tag, name, value in page.attributes if (tag, name) == ("meta", "content"))
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert html.index("Content-Security-Policy") < html.index("<title>")  # before anything could be loaded
    without_pictures = re.sub(r"base64,[^\"]*", "", html)
    assert not re.search(r"https?:|//|url\(|@import", without_pictures)
    anchors = {value[1:] for tag, name, value in page.attributes if (tag, name) == ("a", "href")}
    identities = [value for _, name, value in page.attributes if name == "id"]
    assert anchors == set(identities) and len(identities) == len(set(identities))


def test_markdown_and_page_say_the_same(harmless: tuple[str, str]) -> None:
    html, markdown = harmless
    from_markdown = Page(rendered(markdown))
    page = Page(html[html.index("<h1>") :]).words
    ignored = set("“”") | {"what", "value", "standing", "about", "it"}
    told = [word for word in re.findall(r"[\w.,%+-]+", from_markdown.words) if word not in ignored]
    missing = [word for word in told if word not in page]
    assert not [
        word for word in missing if not re.fullmatch(r"[+-]\d\.\d\d", word)
    ]  # scores are colours there
    numbers = re.findall(r"\d+\.\d{3}", from_markdown.words)
    assert sorted(numbers) == sorted(re.findall(r"\d+\.\d{3}(?!\d)", page))


def test_intervals_of_one_measure_share_a_scale_and_far_ones_point_away() -> None:
    rows = (("a", Bounds(1.0, 2.0, 1.5)), ("b", Bounds(1.5, 2.5, 2.0)), ("c", Bounds(90.0, 91.0, 90.5)))
    other = ("d", Bounds(100.0, 200.0, 150.0, scale="another"))
    drawn = whiskers(Table(("x", "y"), (*rows, other)), 1)
    assert float(drawn[0].high) > float(drawn[1].low) > float(drawn[0].low)
    assert [drawn[at].beyond for at in range(3)] == ["", "", "right"]
    assert float(drawn[3].value) == WIDTH / 2
    places = [float(place) for each in drawn.values() for place in (each.low, each.high, each.value)]
    assert all(0 <= place <= WIDTH for place in places)


def test_intervals_without_width_or_at_one_place_are_drawn() -> None:
    drawn = whiskers(Table(("x",), ((Bounds(1.0, 1.0, 1.0),), (None,), ("word",))), 0)
    assert list(drawn) == [0] and float(drawn[0].value) == WIDTH / 2


def test_an_interval_that_runs_off_the_scale_is_cut_at_its_end() -> None:
    drawn = whiskers(Table(("x",), ((Bounds(0.0, 1.0, 0.5, mark=-9.0),), (Bounds(-1.0, 9.0, 4.0),))), 0)
    assert all(0 <= float(each.low) <= float(each.high) <= WIDTH for each in drawn.values())


def test_a_page_of_one_section_needs_no_pictures(tmp_path: Path) -> None:
    section = Section("Only <one>")
    section.say("*one* **two** a \\* b")
    html = web_page("<t>", "b", [section], tmp_path)
    assert "<em>one</em> <strong>two</strong> a * b" in html and "Only &lt;one&gt;" in html
