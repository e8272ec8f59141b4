"""The whole lifecycle for real: one command, then reruns, changes, damage and a killed process."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from flows.lifecycle import compose
from flows.running import inspect_flow, run_flow
from tasks import stages

pytestmark = pytest.mark.slow


@pytest.fixture
def copied(smoke: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the finished workspace, which this process works in."""
    home = tmp_path / "workspace"
    shutil.copytree(smoke.home, home, symlinks=True, ignore=shutil.ignore_patterns("prefect"))
    monkeypatch.setenv("UNVEIL_HOME", str(home))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return home


def _run(settings: dict[str, Any] | None = None, until: str | None = None) -> dict[str, Any]:
    """The lifecycle without Prefect around it: the same stages, the same ledger."""
    return run_flow("lifecycle", compose, "smoke", settings, until)


def _contents(ledger: dict[str, Any]) -> dict[str, str]:
    from tasks.artifacts import verify

    return {stage: verify(Path(entry["artifact"])).content for stage, entry in ledger["stages"].items()}


def test_every_stage_ran_and_the_command_says_where_to_look(smoke: Any) -> None:
    ledger = smoke.first
    assert ledger["status"] == "completed"
    assert list(ledger["stages"]) == list(stages.NAMES)
    assert not any(entry["cached"] for entry in ledger["stages"].values())
    said = (smoke.home.parent / "stdout.txt").read_text(encoding="utf-8")
    assert ledger["mlflow"]["parent_run_id"] in said
    assert ledger["prefect"]["flow_run_id"] in said
    assert (
        sum((line.startswith("  ") and "unveil" in line) or "cli" in line for line in said.splitlines()) >= 3
    )


def test_a_second_run_computes_nothing_and_prefect_shows_it_cached(smoke: Any) -> None:
    before = smoke.first
    done = smoke("run", "--preset", "smoke")
    assert done.returncode == 0, done.stderr
    after = smoke.ledger()
    assert after["run_id"] != before["run_id"]
    assert all(entry["cached"] for entry in after["stages"].values())
    assert _contents(after) == _contents(before)
    states = _prefect_task_states(smoke.home, after["prefect"]["flow_run_id"])
    assert states == dict.fromkeys(stages.NAMES, "Cached")


def _prefect_task_states(home: Path, flow_run_id: str) -> dict[str, str]:
    import sqlite3

    with sqlite3.connect(f"file:{home / 'prefect' / 'prefect.db'}?mode=ro", uri=True) as database:
        query = "select name, state_name from task_run where replace(flow_run_id, '-', '') = ?"
        return dict(database.execute(query, (flow_run_id.replace("-", ""),)).fetchall())


def test_mlflow_holds_a_parent_and_a_child_per_stage_with_metrics_and_inputs(smoke: Any) -> None:
    from mlflow.tracking import MlflowClient

    ledger = smoke.first
    client = MlflowClient(f"sqlite:///{smoke.home / 'mlflow.db'}")
    parent = client.get_run(ledger["mlflow"]["parent_run_id"])
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["prefect.flow_run_id"] == ledger["prefect"]["flow_run_id"]
    for stage, entry in ledger["stages"].items():
        child = client.get_run(entry["mlflow_run_id"])
        assert child.info.status == "FINISHED"
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert child.data.tags["mlflow.runName"] == stage
        assert child.data.tags["prefect.task_run_id"]
        assert child.data.params and child.data.metrics
        assert bool(child.inputs.dataset_inputs) == (stage != "ingestion")


def test_training_is_logged_step_by_step(smoke: Any) -> None:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{smoke.home / 'mlflow.db'}")
    runs = client.search_runs(
        [client.get_experiment_by_name("unveil").experiment_id],
        "tags.`unveil.stage` = 'pretraining' and tags.`unveil.cached` = 'false'",
    )
    assert len(runs) == 1
    run_id = runs[0].info.run_id
    for metric in ("loss", "learning_rate", "tokens_seen"):
        assert [m.step for m in client.get_metric_history(run_id, metric)] == list(range(1, 61))
    assert client.get_metric_history(run_id, "validation/bits_per_byte")


def test_the_model_is_a_hugging_face_folder_with_equal_logits(smoke: Any) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from models.export import load_pretrained

    folder = smoke.first["stages"]["pretraining"]["artifact"]
    theirs = AutoModelForCausalLM.from_pretrained(folder)
    assert type(theirs).__name__ == "Qwen3ForCausalLM"
    tokens = torch.tensor([[0, *AutoTokenizer.from_pretrained(folder)("The old harbour").input_ids]])
    with torch.inference_mode():
        difference = theirs(tokens).logits - load_pretrained(Path(folder))(tokens)
    assert difference.abs().max() < 1e-4


def test_changing_a_cleaning_threshold_rebuilds_cleaning_and_after_not_ingestion(copied: Path) -> None:
    settings = {"cleaning": {"near_duplicates": {"threshold": 0.75}}}
    found = {item.stage: item for item in inspect_flow("lifecycle", compose, "smoke", settings)}
    assert found["ingestion"].fresh
    assert [name for name, item in found.items() if not item.fresh] == list(stages.NAMES[1:])
    assert found["cleaning"].why == "config.near_duplicates.threshold 0.8 -> 0.75"
    ledger = _run(settings, until="cleaning")
    assert [(name, entry["cached"]) for name, entry in ledger["stages"].items()] == [
        ("ingestion", True),
        ("cleaning", False),
    ]


@pytest.mark.parametrize("damage", ["delete", "flip", "truncate", "lose"])
def test_a_damaged_or_deleted_artefact_is_rebuilt_as_it_was(damage: str, smoke: Any, copied: Path) -> None:
    before = _contents(smoke.first)
    folder = (
        copied / "artifacts" / "tokenization" / Path(smoke.first["stages"]["tokenization"]["artifact"]).name
    )
    shard = folder / "train.bin"
    content = bytearray(shard.read_bytes())
    if damage == "delete":
        shutil.rmtree(folder)
    elif damage == "flip":
        content[len(content) // 2] ^= 1
        shard.write_bytes(content)
    elif damage == "truncate":
        shard.write_bytes(content[:-2])
    else:
        shard.unlink()
    ledger = _run(until="pretraining")
    rebuilt = [name for name, entry in ledger["stages"].items() if not entry["cached"]]
    assert rebuilt == ["tokenization"]
    why = ledger["stages"]["tokenization"]["why"]
    assert "gone" in why if damage == "delete" else "train.bin" in why
    assert _contents(ledger) == {name: before[name] for name in ledger["stages"]}


def test_killed_in_the_middle_of_training_the_next_run_ends_as_an_undisturbed_one(
    smoke: Any, copied: Path
) -> None:
    before = _contents(smoke.first)
    for stage in ("pretraining", "evaluation", "reporting"):
        shutil.rmtree(copied / "artifacts" / stage)
    for steps in (31, 45):
        _kill_in_training(smoke.environment() | {"UNVEIL_HOME": str(copied)}, copied, steps)
    assert list(copied.glob("artifacts/pretraining/.*.partial/checkpoints/step-*"))
    ledger = _run()
    assert _contents(ledger) == before
    assert not list(copied.glob("artifacts/pretraining/.*.partial"))
    _assert_nothing_is_running(copied)


def _kill_in_training(environment: dict[str, str], home: Path, after_step: int) -> None:
    """Start the lifecycle in a process of its own and kill -9 it once training has passed a step."""
    program = (
        "from flows.running import run_flow; from flows.lifecycle import compose; "
        "run_flow('lifecycle', compose, 'smoke')"
    )
    process = subprocess.Popen([sys.executable, "-c", program], env=environment, cwd=home.parent)
    history = "artifacts/pretraining/.*.partial/checkpoints/metrics.jsonl"
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        if any(_steps(path) >= after_step for path in home.glob(history)):
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def _steps(path: Path) -> int:
    try:
        return int(path.read_text(encoding="utf-8").rsplit("\n[", 1)[-1].lstrip("[").partition(",")[0] or 0)
    except (FileNotFoundError, ValueError):
        return 0


def _assert_nothing_is_running(home: Path) -> None:
    from mlflow.tracking import MlflowClient

    from tasks.ledgers import LEDGER, read_ledger

    assert {read_ledger(path)["status"] for path in home.glob(f"runs/*/{LEDGER}")} == {"completed", "failed"}
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("unveil").experiment_id
    assert client.search_runs([experiment], "attributes.status = 'RUNNING'") == []


@pytest.mark.parametrize(
    ("objective", "told"),
    [("masked", "guess hidden"), ("hybrid", "predict the next token and to guess hidden ones")],
)
def test_the_other_objectives_run_to_the_report(objective: str, told: str, copied: Path) -> None:
    ledger = _run({"pretraining": {"training": {"objective": objective, "steps": 10, "batch_size": 4}}})
    assert ledger["status"] == "completed"
    report = Path(ledger["stages"]["reporting"]["artifact"]) / "report.md"
    assert told in report.read_text(encoding="utf-8")
