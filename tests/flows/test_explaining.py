"""`unveil explain`: what it prints, the page it writes, and what it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from flows.cli import main
from flows.explaining import coloured_tokens, plain_tokens
from flows.writing import newest_artifact, newest_model
from models.answering import DOC_STRIDE, MAX_ANSWER_TOKENS, NO_ANSWER_THRESHOLD, TEMPERATURE
from models.export import load_pretrained
from models.head_export import save_head
from models.heads import Classifier, SpanExtractor
from tasks.artifacts import Artifact, Store
from tasks.errors import ConfigError
from tests.tasks.evaluation.tiny_inputs import artifact, inputs

SETTINGS = {DOC_STRIDE: 8.0, MAX_ANSWER_TOKENS: 5.0, NO_ANSWER_THRESHOLD: 1.0, TEMPERATURE: 1.0}
TEXT = "the old river ran past a quiet mill"


@pytest.fixture
def made(workspace: Path) -> dict[str, Artifact]:
    """A workspace with one run that went as far as two fine-tuned models."""
    found, store = inputs(workspace), Store(workspace)
    tokenizer = found["tokenization"].file("tokenizer.json")
    heads = {
        "sentiment": Classifier(load_pretrained(found["pretraining"].path), ("bad", "good"), seed=1),
        "question-answering": SpanExtractor(load_pretrained(found["pretraining"].path), seed=1),
    }
    for name, head in heads.items():
        found[f"finetuning-{name}"] = artifact(
            store,
            f"finetuning-{name}",
            lambda folder, head=head: save_head(head, folder, tokenizer, max_tokens=32, settings=SETTINGS),  # type: ignore[misc]
        )
    run(workspace, "run-1", found)
    return found


def run(home: Path, name: str, made: dict[str, Artifact]) -> None:
    folder = home / "runs" / name
    folder.mkdir(parents=True)
    stages = {stage: {"artifact": str(each.path)} for stage, each in made.items()}
    (folder / "run.json").write_text(json.dumps({"stages": stages}))


def page(printed: str) -> Path:
    return Path(re.search(r"^page  (.*)$", printed, re.M).group(1))  # type: ignore[union-attr]


def test_a_sentiment_is_explained(
    made: dict[str, Artifact], workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", TEXT, "--steps"]) == 0
    printed = capsys.readouterr().out
    assert re.match(r"sentiment: (bad|good) \(\d+\.\d%\)\n", printed)
    assert re.search(r"river[+-]0\.\d\d", printed) or re.search(r"\w+[+-]0\.\d\d \w+[+-]0\.\d\d", printed)
    assert "\x1b" not in printed
    assert "completeness error: 0." in printed
    assert "(random: " in printed
    assert "32 steps" in printed
    assert "training documents most like it:\n  " in printed
    assert "CC0-1.0" in printed
    written = page(printed)
    assert written.parent == workspace / "explanations"
    assert "<h1>" in written.read_text(encoding="utf-8")


def test_the_same_question_writes_the_same_page(made: dict[str, Artifact], tmp_path: Path) -> None:
    for name in ("a.html", "b.html"):
        assert main(["explain", TEXT, "--html", str(tmp_path / name)]) == 0
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_an_answer_is_explained(made: dict[str, Artifact], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", TEXT, "--task", "question-answering", "--question", "who ran"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("question answering: ")
    assert "the text does not say" in printed


def test_the_next_token_is_explained(made: dict[str, Artifact], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", TEXT, "--task", "next-token"]) == 0
    printed = capsys.readouterr().out
    assert len(re.search(r"likeliest next tokens: (.*)", printed).group(1).split("  ")) == 5  # type: ignore[union-attr]
    headline = re.match(r"next token: (.*) \((.*)\)\n", printed)
    assert headline
    assert f"likeliest next tokens: {headline[1]} {headline[2]}" in printed


def test_hostile_text_changes_nothing(made: dict[str, Artifact], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "\x1b[2J\x07<script>x</script>\u202e\r", "--colour"]) == 0
    printed = capsys.readouterr().out
    assert set(re.findall(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", printed)) <= set(
        re.findall(r"\x1b\[(?:0|38;5;231;48;5;\d+)m", printed)
    )
    assert not {"\x07", "\u202e", "\r"} & set(printed)
    assert "\\u001b" in printed
    html = page(printed).read_text(encoding="utf-8")
    assert "<script" not in html
    assert not {"\x1b", "\x07", "\u202e", "\r"} & set(html)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--task", "question-answering"], "a question is needed"),
        (["--question", "who"], "takes no question"),
        (["--html", "no/such/folder/page.html"], "cannot be written"),
        (["--model", "no/such/folder"], "no/such/folder"),
    ],
)
def test_what_cannot_be_explained_is_one_line(
    made: dict[str, Artifact], capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    assert main(["explain", TEXT, *arguments]) == 2
    errors = capsys.readouterr().err
    assert told in errors
    assert errors.count("\n") == 1


def test_a_model_of_another_task_is_refused(
    made: dict[str, Artifact], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", TEXT, "--model", str(made["finetuning-question-answering"].path)]) == 2
    assert "is a model for question-answering" in capsys.readouterr().err
    assert main(["explain", TEXT, "--model", str(made["pretraining"].path)]) == 2
    assert main(["explain", "mill " * 200, "--task", "next-token"]) == 2
    assert "context holds 32" in capsys.readouterr().err


def test_no_model_yet(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", TEXT]) == 2
    assert "no result of finetuning-sentiment yet" in capsys.readouterr().err


def test_a_model_given_by_hand_has_no_known_documents(
    made: dict[str, Artifact], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", TEXT, "--model", str(made["finetuning-sentiment"].path)]) == 0
    assert "training documents" not in capsys.readouterr().out


def test_documents_are_those_of_the_run_that_made_the_model(
    made: dict[str, Artifact], workspace: Path
) -> None:
    other = artifact(
        Store(workspace), "cleaning", lambda folder: (folder / "x").write_text("x") and None, other=1
    )
    run(workspace, "run-2", {"cleaning": other})
    assert newest_artifact(workspace, "cleaning") == other
    assert newest_artifact(workspace, "cleaning", beside="finetuning-sentiment") == made["cleaning"]
    assert newest_model(workspace) == made["pretraining"].path
    with pytest.raises(ConfigError, match="no result of promotion yet"):
        newest_artifact(workspace, "promotion")


def test_tokens_on_a_terminal() -> None:
    pieces, scores = ("", "good", " b", "\n", "🙂", ""), (0.0, 1.0, -0.5, 0.0, 0.25, 0.25)
    assert plain_tokens(pieces, scores) == "good+1.00 b-0.50 ⏎+0.00 🙂+0.50"
    coloured = coloured_tokens(pieces, scores)
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == "".join(pieces)
    assert coloured.startswith("\x1b[38;5;231;48;5;40mgood\x1b[0m")
    assert "48;5;88m b" in coloured
