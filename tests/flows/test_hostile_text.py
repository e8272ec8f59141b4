"""A user's own corpus full of markup and control codes goes through every stage and comes out as text."""

from __future__ import annotations

import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow
PAYLOAD = "<script>alert(1)</script><img src=x onerror=alert(2)> \x1b[31mred\x1b[0m {{ 7 * 7 }} \u202egnp.exe"
CONFIG = """
extends: smoke
+sources:
  - {type: files, path: "corpus/*.txt", domain: books, licence: "<script>alert(3)</script>"}
labelled:
  sentiment: {type: files, path: reviews.csv, text: review, label: stars, licence: CC0-1.0}
promotion: {registered_model: hostile}
"""
WORDS = ("rain", "boats", "letters", "winter", "copper", "gardens", "market", "clocks", "bread", "stones")


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
            fetches = name in ("src", "href", "srcset", "data") and not str(value).startswith(
                ("#", "data:image/")
            )
            if name.startswith("on") or fetches:
                self.dangerous.append(f"{tag} {name}={value}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A corpus, labelled rows and a configuration, with the payload wherever a person could put it."""
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for n in range(40):
        told = " ".join(
            f"The {WORDS[(n * 7 + k * k) % 10]} of house {n * 31 + k} were counted." for k in range(9)
        )
        (corpus / f"<b onclick=alert(4)>{n}.txt").write_text(
            f"{told} {PAYLOAD} {told[:120]}", encoding="utf-8"
        )
    opinions = ("I loved it, a wonderful {}", "I hated it, an awful {}")
    marks = ("<script>alert(5)</script>", "\x1b[31m", "<img src=x onerror=alert(6)>", "{{ 7 * 7 }}")
    rows = [
        f'"{opinions[n % 2].format(WORDS[n % 10])} on day {n} {marks[n % 4]}",{5 - 4 * (n % 2)}'
        for n in range(120)
    ]
    (tmp_path / "reviews.csv").write_text("\n".join(["review,stars", *rows]), encoding="utf-8")
    (tmp_path / "hostile.yaml").write_text(CONFIG, encoding="utf-8")
    return tmp_path


def test_hostile_text_is_shown_and_does_nothing(smoke: Any, folder: Path) -> None:
    workspace = replace(smoke, home=folder / "workspace")
    shutil.copytree(smoke.home, workspace.home, symlinks=True)
    done = workspace("run", "--config", "hostile.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    explained = workspace("explain", f"I loved it {PAYLOAD}", "--task", "sentiment", cwd=folder)
    assert explained.returncode == 0, explained.stderr
    written = workspace("generate", PAYLOAD, "--show-steps", "--max-new-tokens", "3", cwd=folder)
    assert written.returncode == 0, written.stderr
    for said in (done, explained, written):
        assert "\x1b" not in said.stdout + said.stderr and "\u202e" not in said.stdout + said.stderr
    report = Path(workspace.ledger()["stages"]["reporting"]["artifact"])
    pages = [path for path in workspace.home.rglob("*.html") if "prefect" not in path.parts]
    assert {"report.html", "decision.html"} <= {path.name for path in pages}
    assert len(pages) >= 3
    for path in pages:
        page = path.read_text(encoding="utf-8")
        elements = Elements(page)
        assert "script" not in elements.names and not elements.dangerous, path
        assert "\x1b" not in page and "\u202e" not in page, path
    text = (report / "report.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;" in text, "the payload was to be shown, as text"
