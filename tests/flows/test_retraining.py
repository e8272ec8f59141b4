"""A retraining for real: killed and started again it ends as an undisturbed one, and a worse model is refused."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows import cli, lifecycle, retraining
from flows.presets import smoke as smoke_preset
from flows.running import run_flow
from tasks.artifacts import verify
from tasks.ledgers import LEDGER, newest, read_ledger
from tasks.registry import Registry
from tasks.tracking import Tracker

pytestmark = pytest.mark.slow
NAME = smoke_preset().promotion.registered_model
PROGRAM = """
import json, sys
from flows.running import run_flow
from flows.retraining import compose
run_flow("retraining", compose, "smoke", json.loads(sys.argv[1]), reason={"why": "a test"})
"""


@pytest.fixture
def enter(smoke: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Make a copy of the finished workspace and work in it."""

    def copy(name: str) -> Path:
        home = tmp_path / name
        shutil.copytree(smoke.home, home, symlinks=True, ignore=shutil.ignore_patterns("prefect"))
        monkeypatch.setenv("UNVEIL_HOME", str(home))
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return home

    return copy


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    """New documents to read, and checkpoints close enough to be met by a kill."""
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for place in range(12):
        sacks = " ".join(f"The miller of valley {place} grinds {n} sacks." for n in range(40))
        (corpus / f"{place}.txt").write_text(f"Chapter {place}. {sacks}", encoding="utf-8")
    source = {"type": "files", "path": f"{corpus}/*.txt", "domain": "books", "licence": "CC0-1.0"}
    training = {"checkpoint_every": 10, "validate_every": 30}
    return {
        "+sources": [source],
        "pretraining": {"training": training},
        "retraining": {"steps": 60},
        "finetuning": {"translation": {"training": {"steps": 60, "checkpoint_every": 10}}},
    }


def test_killed_and_started_again_it_ends_as_an_undisturbed_one(
    enter: Callable[[str], Path], smoke: Any, settings: dict[str, Any]
) -> None:
    enter("undisturbed")
    wanted = _retrain(settings)
    home = enter("killed")
    for stage in ("pretraining", "finetuning-translation"):
        _kill_in(stage, 25, smoke.environment() | {"UNVEIL_HOME": str(home)}, home, settings)
        partial = home.glob(f"artifacts/{stage}/.*.partial/checkpoints/step-*")
        assert list(partial), "killed before there was anything to go on from"
    found = _retrain(settings)
    assert _contents(found) == _contents(wanted)
    assert found["notes"]["promotion"] == wanted["notes"]["promotion"]
    assert not list(home.glob("artifacts/*/.*.partial"))
    assert {read_ledger(path)["status"] for path in home.glob(f"runs/*/{LEDGER}")} == {"completed", "failed"}
    tracker = Tracker(home)
    experiment = tracker.call("get_experiment_by_name", "unveil").experiment_id
    assert tracker.call("search_runs", [experiment], "attributes.status = 'RUNNING'") == []


def test_asked_for_again_it_is_answered_from_the_store(
    enter: Callable[[str], Path], settings: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where the first one got as far as the title: what it would go on from is what it went on from then."""
    home = enter("twice")
    first = _retrain(settings)
    registry = Registry(Tracker(home), NAME)
    if registry.aliases()["champion"] == "1":
        assert cli.main(["promote", "--yes", "--why", "so that it is the champion"]) == 0
    assert registry.aliases()["champion"] == "2"
    capsys.readouterr()
    again = _retrain(settings)
    assert _contents(again) == _contents(first)
    assert all(entry["cached"] for entry in again["stages"].values())
    assert again["notes"]["promotion"]["verdict"] == "champion"
    assert registry.aliases() == {"champion": "2", "previous": "1", "challenger": "2"}


def test_a_model_taught_flipped_labels_is_refused(
    enter: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tasks.finetuning import sentiment

    home = enter("flipped")
    taught = {"finetuning": {"sentiment": {"training": {"steps": 150}}}}
    assert _run(taught)["notes"]["promotion"]["verdict"] in ("promote", "inconclusive")
    if Registry(Tracker(home), NAME).aliases()["champion"] == "1":
        assert cli.main(["promote", "--yes", "--why", "it was taught for longer"]) == 0
    capsys.readouterr()
    plain = sentiment.labelled_rows
    other = {"positive": "negative", "negative": "positive"}

    def flipped(inputs: Any, task: str, split: str) -> list[dict[str, Any]]:
        return [row | {"label": other.get(row["label"], row["label"])} for row in plain(inputs, task, split)]

    monkeypatch.setattr(sentiment, "labelled_rows", flipped)
    # Another seed, for another key: what is in the store was made by honest code.
    taught["finetuning"]["sentiment"]["training"]["seed"] = 1
    assert cli.console.end_run(_run(taught), home) == 4
    said = capsys.readouterr()
    assert "sentiment.correct" in said.err and "worse by more than the margin" in said.err
    assert Registry(Tracker(home), NAME).aliases()["champion"] == "2"
    assert Registry(Tracker(home), NAME).version("3").status == "refused"


def _retrain(settings: dict[str, Any]) -> dict[str, Any]:
    return run_flow("retraining", retraining.compose, "smoke", settings, reason={"why": "a test"})


def _run(settings: dict[str, Any]) -> dict[str, Any]:
    return run_flow("lifecycle", lifecycle.compose, "smoke", settings)


def _contents(ledger: dict[str, Any]) -> dict[str, str]:
    return {stage: verify(Path(entry["artifact"])).content for stage, entry in ledger["stages"].items()}


def _kill_in(
    stage: str, step: int, environment: dict[str, str], home: Path, settings: dict[str, Any]
) -> None:
    """Start the retraining in a process of its own and kill -9 it once a stage has passed a step."""
    import json

    command = [sys.executable, "-c", PROGRAM, json.dumps(settings)]
    process = subprocess.Popen(command, env=environment, cwd=home.parent)
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        histories = home.glob(f"artifacts/{stage}/.*.partial/checkpoints/metrics.jsonl")
        if any(_lines(path) >= step for path in histories):
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    ledger = newest(home, lambda entry: True)
    assert ledger is not None and stage not in ledger["stages"]


def _lines(path: Path) -> int:
    try:
        return path.read_text(encoding="utf-8").count("\n")
    except FileNotFoundError:
        return 0
