"""The model card: front matter that machines read, a body that hides nothing, and no harm from data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from tasks.reporting.config import ReportingConfig
from tasks.reporting.model_card import _hub_licence
from tasks.reporting.report import observe, report
from tests.payloads import PAYLOADS
from tests.tasks.reporting import tiny_run
from tests.tasks.reporting.test_report import Page

HEADINGS = ("Intended use", "What went in", "Training", "Limits", "What was not tested", "What it cost")


def card(home: Path, **run: Any) -> str:
    out = home / "out"
    out.mkdir(parents=True)
    report(tiny_run.shared(**run), ReportingConfig(picture_dpi=50), out)
    return (out / "model-card" / "README.md").read_text("utf-8")


def split(text: str) -> tuple[dict[str, Any], str]:
    _, front, body = text.split("---\n", 2)
    return yaml.safe_load(front), body


def test_the_front_matter_holds_the_scores_of_the_records(tmp_path: Path) -> None:
    text = card(tmp_path, examined=True)
    front, _ = split(text)
    results = {
        (each["task"]["type"], metric["type"]): (metric["value"], metric["name"])
        for each in front["model-index"][0]["results"]
        for metric in each["metrics"]
    }
    assert results["text-classification", "accuracy"] == (
        0.68,
        "accuracy (95 % interval 0.630 to 0.730, n = 93)",
    )
    assert results["question-answering", "f1"][0] == 0.21
    assert results["translation", "placeholder_survival"][1] == "placeholder survival (n = 12)"
    assert ("text-generation", "bits_per_byte") in results
    assert front["language"] == ["en"] and front["license"] == "other"
    assert front["data_licences"] == ["plain words"]
    assert ModelCard(text).data.eval_results  # as the Hub's own library reads it


@pytest.mark.parametrize("examined", [True, False])
def test_the_body_tells_use_data_scores_limits_and_what_was_not_tested(
    tmp_path: Path, examined: bool
) -> None:
    _, body = split(card(tmp_path, examined=examined))
    assert all(f"\n## {heading}\n" in body for heading in HEADINGS)
    assert ("\n## Bias\n" in body) == examined and ("the null" in body) == examined
    assert ("- Toxic output\n" in body) == (not examined)
    assert "- Whether what it says is true" in body
    assert ".png" not in body and "shown.json" not in body and "{{" not in body


@pytest.mark.parametrize("objective", ["masked", "hybrid"])
def test_other_objectives_have_a_card_too(tmp_path: Path, objective: str) -> None:
    front, body = split(card(tmp_path, objective=objective))
    assert objective in front["tags"]
    [metric] = front["model-index"][0]["results"][0]["metrics"]
    assert metric["type"] == ("masked_loss" if objective == "masked" else "bits_per_byte")
    assert ("cannot go on with a text" in body) == (objective == "masked")


@pytest.mark.parametrize(
    "payload",
    ["x\n---\nlicense: mit\n# y", "[x](javascript:alert(1)) | \x1b[31m \u202e", *PAYLOADS],
)
def test_hostile_text_changes_neither_front_matter_nor_elements(tmp_path: Path, payload: str) -> None:
    text = card(tmp_path / "bad", text=payload, examined=True)
    front, body = split(text)
    plain_front, plain = split(card(tmp_path / "good", examined=True))
    assert list(front) == list(plain_front) and front["license"] == "other"
    page = Page(body)
    assert page.tags == Page(plain).tags and page.sources == []
    assert "<script" not in body and "\x1b" not in text and "\u202e" not in text


def test_one_licence_that_the_hub_knows_is_named() -> None:
    assert _hub_licence(["CC-BY-4.0"]) == "cc-by-4.0"
    assert _hub_licence(["CC-BY-4.0", "MIT"]) == "" and _hub_licence(["public domain"]) == ""


def test_the_templates_are_part_of_what_a_report_depends_on() -> None:
    assert set(observe(ReportingConfig())) == {"report.html.j2", "report.css.j2", "model-card.md.j2"}
