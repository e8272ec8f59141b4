"""The change since the corpus before, as a page of its own and in the report's section."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tasks.artifacts import Artifact
from tasks.reporting import representation_since
from tasks.reporting.config import ReportingConfig
from tasks.reporting.page import Section
from tasks.reporting.representation_section import representation
from tasks.reporting.sources import Evidence
from tests.payloads import PAYLOADS
from tests.tasks.representation.audited import evaluation, people


class Elements(HTMLParser):
    """Names of all elements, and every attribute that could run or fetch something."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.dangerous: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        for name, value in attrs:
            fetches = name in ("src", "href", "srcset") and not str(value).startswith(("#", "data:image/"))
            if name.startswith("on") or fetches:
                self.dangerous.append(f"{tag} {name}={value}")


def pages(artifact: Artifact) -> tuple[str, str]:
    """The page and the text that are published, which must not touch the artefact."""
    found: list[tuple[str, str, str]] = []
    before = sorted(path.name for path in artifact.path.iterdir())
    representation_since.show(artifact, lambda *page: found.append(page))
    assert sorted(path.name for path in artifact.path.iterdir()) == before
    ((name, html, markdown),) = found
    assert name == "representation"
    return html, markdown


@pytest.fixture(autouse=True)
def home(workspace: Path) -> Path:
    return workspace


def test_without_a_corpus_before_one_line_says_so(home: Path) -> None:
    html, markdown = pages(evaluation(home, "one", people(5, 5)))
    assert "There is no earlier corpus to compare with." in html
    assert markdown.splitlines()[2:] == ["There is no earlier corpus to compare with."]
    assert list(home.glob(".pictures-*")) == []


def test_what_changed_is_shown_with_pictures_and_words(home: Path) -> None:
    evaluation(home, "one", people(50, 50))
    html, markdown = pages(evaluation(home, "two", people(50, 50)[:50:5] + people(0, 90, first=100)))
    for told in (
        "10 are in this one (0 of them say something else), 90 are gone and 90 are new",
        "numbers changed by more than chance explains",
    ):
        assert told in html and told in markdown
    assert "| mentions per million words | gender\\: women |" in markdown and "![" not in markdown
    assert html.count('<img src="data:image/png;base64,') == 2
    assert html.count("http") == 1 and "http-equiv" in html and "<script" not in html


def test_other_lists_are_said_to_be_the_reason(home: Path) -> None:
    evaluation(home, "one", people(5, 5))
    assert "counted by other lists" in pages(evaluation(home, "two", people(5, 6), window=3))[1]


def test_equal_evaluations_give_equal_pages(home: Path) -> None:
    former, now = (evaluation(home, name, people(n, 50)) for name, n in (("one", 50), ("two", 5)))
    sections = []
    for folder in (home / "a", home / "b"):
        folder.mkdir()
        section = Section("x")
        brief = representation_since.since(section, now, former, ReportingConfig(), folder)
        sections.append((brief, section.text(), [path.read_bytes() for path in sorted(folder.iterdir())]))
    assert sections[0] == sections[1]


def test_the_report_tells_it_if_the_evaluation_before_is_among_its_inputs(home: Path) -> None:
    former, now = (evaluation(home, name, people(n, 50)) for name, n in (("one", 50), ("two", 5)))
    told = []
    for inputs in ({"evaluation": now}, {"evaluation": now, "former": former}):
        section = representation(Evidence(inputs), ReportingConfig(), home)
        assert section is not None
        told.append(section.text())
    assert "**Since the corpus before.** There is no earlier corpus to compare with." in told[0]
    assert "**Since the corpus before.** Of the documents of the corpus before, 55 are in this one" in told[1]
    assert "since_rates.png" in told[1] and "since_rates.png" not in told[0]


def test_what_data_and_settings_say_stays_text(home: Path) -> None:
    words = [f"word{n}" for n in range(len(PAYLOADS))]
    groups = {payload: (word,) for payload, word in zip(PAYLOADS, words, strict=True)}
    for name, times in (("one", 1), ("two", 9)):
        text = " ".join(words * times) + " he went home" * 20
        documents = [{"id": f"{name}{n}", "text": text, "domain": PAYLOADS[n % 3]} for n in range(60)]
        now = evaluation(home, name, documents, extra_groups=groups)
    html, markdown = pages(now)
    page = Elements(html)
    assert "alert(1)" in html and not page.dangerous
    assert not page.names & {"script", "iframe", "object", "form"}
    assert not re.search(r"<(script|img|iframe)|(?<!\\)\]\(|\x1b|\u202e|[^\\]https?:|\{\{", markdown)
