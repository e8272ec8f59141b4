"""The command that shows verdicts and what changed between two runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows import cli
from tasks.contracts_report import ContractResult


def add_run(home: Path, run_id: str, rows: int, preset: str = "smoke", verdict: bool = True) -> None:
    """A run as the ledger leaves it, with one guarded artefact."""
    artifact = home / "artifacts" / "cleaning" / f"{preset}-{run_id}"
    (artifact / "contracts").mkdir(parents=True)
    if verdict:
        result = ContractResult(suite="clean_documents", rows=rows, success=True, results=())
        (artifact / "contracts" / "clean_documents.json").write_text(result.model_dump_json())
    folder = home / "runs" / run_id
    folder.mkdir(parents=True)
    stages = {"cleaning": {"artifact": str(artifact)}}
    (folder / "run.json").write_text(json.dumps({"run_id": run_id, "preset": preset, "stages": stages}))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UNVEIL_HOME", str(tmp_path))
    return tmp_path


def test_the_newest_run_is_held_against_the_one_before(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_run(home, "20261101T000000-a", 5)
    add_run(home, "20261102T000000-x", 1, preset="demo")
    add_run(home, "20261103T000000-b", 7)
    add_run(home, "20261104T000000-c", 0, verdict=False)
    assert cli.main(["contracts"]) == 0
    shown = capsys.readouterr().out
    assert "contracts of run 20261103T000000-b (smoke)" in shown
    assert "since run 20261101T000000-a: 1 changes" in shown
    assert "rows          cleaning/clean_documents: 5 -> 7" in shown


def test_runs_can_be_named_and_the_first_has_nothing_to_compare_with(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_run(home, "20261101T000000-a", 5)
    add_run(home, "20261102T000000-b", 5)
    assert cli.main(["contracts", "--run", "20261101T000000-a"]) == 0
    assert "no earlier run" in capsys.readouterr().out
    assert cli.main(["contracts", "--run", "20261101T000000-a", "--against", "20261102T000000-b"]) == 0
    assert "nothing changed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [([], "no run with contracts yet"), (["--run", "nowhere"], "nowhere is no run of this workspace")],
)
def test_what_is_not_there_is_said(
    home: Path, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["contracts", *arguments]) == 2
    assert told in " ".join(capsys.readouterr().err.replace(":", "").split())
