"""The command that shows who the text speaks of, and what changed since the corpus before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows import cli
from tests.tasks.representation.audited import people, write


def add_run(home: Path, run_id: str, women: int, men: int) -> None:
    """A run as the ledger leaves it, with what its evaluation left of the audit."""
    artifact = write(home / "artifacts" / "evaluation" / f"smoke-{run_id}", people(women, men))
    folder = home / "runs" / run_id
    folder.mkdir(parents=True)
    stages = {"cleaning": {"artifact": f"{women} and {men}"}, "evaluation": {"artifact": str(artifact)}}
    (folder / "run.json").write_text(json.dumps({"run_id": run_id, "preset": "smoke", "stages": stages}))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UNVEIL_HOME", str(tmp_path))
    return tmp_path


def test_the_newest_corpus_is_held_against_the_one_before(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_run(home, "20261101T000000-a", 50, 50)
    assert cli.main(["representation"]) == 0
    assert "no earlier corpus" in capsys.readouterr().out
    add_run(home, "20261102T000000-b", 10, 90)
    assert cli.main(["representation"]) == 0
    shown = capsys.readouterr().out
    assert "who the text of run 20261102T000000-b (smoke) speaks of" in shown
    assert "since run 20261101T000000-a: 100 documents kept (40 altered), 0 added, 0 removed; " in shown
    add_run(home, "20261103T000000-c", 10, 90)
    assert cli.main(["representation"]) == 0
    assert "since run 20261101T000000-a:" in capsys.readouterr().out, "the same corpus is none before"
    assert "mentions_per_million_words, gender: women: 1e+05 -> 2e+04" in shown


def test_runs_can_be_named(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_run(home, "20261101T000000-a", 50, 50)
    assert cli.main(["representation", "--run", "20261101T000000-a", "--against", "20261101T000000-a"]) == 0
    assert "the same corpus" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [([], "there is no audit yet"), (["--run", "nowhere"], "nowhere: is no run of this workspace")],
)
def test_what_is_not_there_is_told_in_one_line(
    home: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    assert cli.main(["representation", *arguments]) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1
