"""The report: honest, complete, harmless, and the same on every rerun."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from tasks.artifacts import Artifact
from tasks.errors import ArtifactError
from tasks.reporting.config import ReportingConfig
from tasks.reporting.report import ReportSummary, report
from tasks.reporting.safe_text import safe
from tests.tasks.reporting import tiny_run


class Page(HTMLParser):
    def __init__(self, markdown: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.text = ""
        self.feed(MarkdownIt("gfm-like", {"linkify": False}).render(markdown))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [str(value) for name, value in attrs if name in ("src", "href")]
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.text += data


def write(inputs: dict[str, Artifact], folder: Path, **changes: Any) -> tuple[ReportSummary, str]:
    folder.mkdir()
    summary = report(inputs, ReportingConfig(**{"picture_dpi": 50, **changes}), folder)
    return summary, (folder / "report.md").read_text(encoding="utf-8")


def test_every_number_of_the_story_is_that_of_an_artefact(tmp_path: Path) -> None:
    inputs = tiny_run.shared()
    _, text = write(inputs, tmp_path / "out")
    found = inputs["evaluation"].summary()
    for value in (*found["bits_per_byte"].values(), *found["by_domain"]["books"].values()):
        assert f"{value:.3f}" in text
    for gap in found["difference"].values():
        assert f"{gap['low']:.3f} to {gap['high']:.3f}" in text
    for phrase in ("45 documents (12.3 kB) were read", "43 (10.0 kB, 1,500 words) kept", "9,520 parameters"):
        assert phrase in text
    assert "3 broken records into quarantine and passed over 9" in text
    assert "| books | 21 | 17 | 0 |" in text  # personal data: records, e-mails, telephone numbers
    assert inputs["evaluation"].fingerprint[:16] in text


def test_names_are_said_to_be_found_only_where_a_model_found_them(tmp_path: Path) -> None:
    _, without = write(tiny_run.shared(), tmp_path / "without")
    _, found = write(tiny_run.shared(people=6), tmp_path / "found")
    said = "A model that the configuration gives found these in documents: person."
    assert said in found and said not in without
    assert "| domain or labelled set | records | email | person | phone |" in found
    assert "| books | 21 | 17 | 6 | 0 |" in found


def test_a_rerun_gives_the_same_bytes_pictures_included(tmp_path: Path) -> None:
    inputs = tiny_run.shared()
    for name in ("one", "two"):
        write(inputs, tmp_path / name)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == [
        "filters.json",
        "filters.png",
        "model-card",
        "origins.json",
        "quality.png",
        "report.html",
        "report.md",
        "training.png",
    ]
    for name in {*names, "model-card/README.md"} - {"model-card"}:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert b"Software" not in (tmp_path / "one" / "quality.png").read_bytes()


def test_the_report_holds_nothing_of_this_machine(tmp_path: Path) -> None:
    _, text = write(tiny_run.shared(), tmp_path / "out")
    assert str(tmp_path) not in text and "/tmp" not in text


@pytest.mark.parametrize(
    "payload",
    [
        "<script>alert(1)</script>",
        "a | b ` c \x1b[31m \u202e d",
        "[x](javascript:alert(1)) ![y](https://elsewhere.example/z.png)",
    ],
)
def test_hostile_text_in_data_prompts_and_output_stays_text(tmp_path: Path, payload: str) -> None:
    _, text = write(tiny_run.shared(text=payload), tmp_path / "out", title=payload)
    _, harmless = write(tiny_run.shared(), tmp_path / "out2")
    page, plain = Page(text), Page(harmless)
    assert page.tags == plain.tags
    assert page.sources == plain.sources == ["quality.png", "filters.png", "training.png"]
    assert (
        text.count(safe(payload)) >= 6
    )  # title, source, licence, rule, reason, neighbour, sample, candidate
    assert "\x1b" not in text and "\u202e" not in text and "<script" not in text


def test_the_verdict_follows_the_interval(tmp_path: Path) -> None:
    inputs = tiny_run.shared()
    summary, text = write(inputs, tmp_path / "out")
    gaps = inputs["evaluation"].summary()["difference"]
    assert gaps[summary.rival]["low"] > 0  # an untrained network loses to n-grams
    assert summary.standing == "worse" and "**The model is worse than the best older model" in text


def test_one_test_document_decides_nothing(tmp_path: Path) -> None:
    summary, text = write(tiny_run.shared(test=1), tmp_path / "out")
    assert summary.standing == "undecided" and "this decides nothing" in text
    assert "Domains with fewer than 50 test documents" in text


def test_a_masked_model_is_reported_by_its_loss_at_hidden_words(tmp_path: Path) -> None:
    _, text = write(tiny_run.shared(objective="masked"), tmp_path / "out")
    assert "bits per byte do not apply" in text and "nats per hidden word" in text
    assert "Kneser" not in text and "one token at a time" not in text


def test_a_hybrid_model_has_both(tmp_path: Path) -> None:
    _, text = write(tiny_run.shared(objective="hybrid"), tmp_path / "out")
    assert "Asked for hidden words" in text and "Kneser-Ney 5-gram" in text


def test_without_curves_there_is_no_picture_of_them(tmp_path: Path) -> None:
    summary, text = write(tiny_run.shared(curves=False), tmp_path / "out")
    assert summary.pictures == 2 and "training.png" not in text


def test_lengths_are_those_of_the_configuration(tmp_path: Path) -> None:
    inputs = tiny_run.shared(text="many words " * 40)
    _, long = write(inputs, tmp_path / "long")
    _, short = write(inputs, tmp_path / "short", samples_shown=1, sample_characters=20, steps_shown=0)
    assert long.count("*model:*") == 2 and short.count("*model:*") == 1
    assert "*model:* many words many wor…\n" in short and "1 more are in" in short
    assert "one token at a time" in long and "one token at a time" not in short


def test_what_was_not_measured_follows_from_the_records(tmp_path: Path) -> None:
    _, bare = write(tiny_run.shared(), tmp_path / "out")
    _, whole = write(tiny_run.shared(examined=True), tmp_path / "out2")
    [few] = [line for line in whole.splitlines() if line.startswith("- Not measured here")]
    [many] = [line for line in bare.splitlines() if line.startswith("- Not measured here")]
    for what in ("sentiment analysis", "toxic output", "CrowS-Pairs", "identity swaps", "remembered"):
        assert what in many and what not in few
    assert "WinoBias" in many and "WinoBias" in few  # no record of it in either
    assert "whether what it says is true" in few


def test_tasks_are_judged_against_the_best_simple_way_and_undecided_stays_undecided(tmp_path: Path) -> None:
    summary, text = write(tiny_run.shared(examined=True), tmp_path / "out")
    assert summary.tasks == {"sentiment": "better", "question_answering": "undecided", "translation": "worse"}
    assert (
        "beats the best simple way (TF-IDF with logistic regression)**: accuracy 0.680 against 0.620" in text
    )
    assert "on 93 test items, difference +0.060, 95 % interval +0.010 to +0.110" in text
    assert "cannot be told apart from the best simple way (never an answer)" in text
    assert "loses to the best simple way (nearest neighbour&#39;s translation)" in text
    assert "By that measure it beats always the commonest label (knows the labels and nothing" in text
    assert "TF-IDF with logistic regression (weighs every word" in text
    assert "It cannot be told apart from never an answer (is right wherever" in text
    assert "It loses to nearest neighbour&#39;s translation (repeats what a person wrote" in text
    assert "It was fine-tuned on 321 labelled examples." in text
    assert summary.pictures == 6 and "finetuning-question-answering.png" in text


def test_a_new_suite_and_a_new_measure_of_an_old_one_appear_without_code(tmp_path: Path) -> None:
    _, text = write(tiny_run.shared(examined=True), tmp_path / "out")
    assert "| a new measure | plain words | 3.250 | 7 | things | counted |" in text
    for measure in ("self bleu", "peak memory | our model | 412,000,000", "placeholder survival"):
        assert measure in text


def test_fine_tuned_but_not_scored_and_scored_but_not_fine_tuned_are_both_told(tmp_path: Path) -> None:
    whole, bare = (tiny_run.shared(examined=each) for each in (True, False))
    taught = {name: found for name, found in whole.items() if name == "finetuning-sentiment"}
    _, unscored = write(bare | taught, tmp_path / "unscored")
    assert "## Sentiment analysis" in unscored and "best simple way" not in unscored
    _, untaught = write(bare | {"evaluation": whole["evaluation"]}, tmp_path / "untaught")
    assert "best simple way" in untaught and "It was fine-tuned on" not in untaught


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    inputs = tiny_run.run(tmp_path)
    inputs["cleaning"].file("filter_report.json").unlink()
    with pytest.raises(ArtifactError, match="filter_report"):
        write(inputs, tmp_path / "out")
