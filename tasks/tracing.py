"""What one step of a training read, worked out again from the step's number: nothing was logged for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks import code_version, example_tracing, ledgers, stages, window_tracing
from tasks.artifacts import Artifact
from tasks.errors import ArtifactError, ConfigError
from tasks.example_tracing import FineTuningReading
from tasks.passages import Passage
from tasks.window_tracing import PretrainingReading

LATEST = "latest"
PRETRAINING = "pretraining"
STAGES = (PRETRAINING, *example_tracing.STAGES)
_MEASURED = ("loss", "gradient_norm", "learning_rate")
_OTHER_CODE = "the code has changed since that training; told is what it would read now"

Ledger = Mapping[str, Any]


@dataclass(frozen=True)
class Traced:
    """What a step read, and what was measured in it; ``measured`` is empty where no curve was kept."""

    run: str
    stage: str
    step: int
    steps: int
    measured: Mapping[str, float]
    note: str  # what makes it doubtful, or nothing
    passages: tuple[Passage, ...]


def trace(home: Path, run: str, step: int, stage: str | None = None) -> Traced:
    """List what ``step`` of a run's training read.

    Args:
        home: the workspace.
        run: id of an unveil run, of its MLflow run or of that of one of its trainings, or ``latest``.
        step: from 1, as in the curves.
        stage: one of `STAGES`; by default the one whose MLflow run ``run`` is, else the pretraining.

    Raises:
        ConfigError: there is no such run, training or step.
        ArtifactError: what the run was made of is no longer there.
    """
    if stage is not None and stage not in STAGES:
        raise ConfigError("is no training", where=f"--stage {stage}", remedy=f"one of {', '.join(STAGES)}")
    ledger, stage = find_run(home, run, stage)
    key = _key(ledger, stage)
    reading = _pretraining(ledger, key) if stage == PRETRAINING else _finetuning(ledger, stage, key)
    if not 1 <= step <= reading.steps:
        remedy = f"name a step from 1 to {reading.steps}"
        raise ConfigError("is no step of this training", where=f"--step {step}", remedy=remedy)
    return Traced(
        run=str(ledger["run_id"]),
        stage=stage,
        step=step,
        steps=reading.steps,
        measured=_measured(ledger, stage, step),
        note=_OTHER_CODE if _made_by_other_code(stage, key) else "",
        passages=tuple(reading.passages(step)),
    )


def find_run(home: Path, run: str, stage: str | None) -> tuple[Ledger, str]:
    """The ledger and the stage that an id names; ``latest`` is the newest run that came to the stage.

    Raises:
        ConfigError: there is none.
    """
    wanted = stage or PRETRAINING

    def is_named(entry: Ledger) -> bool:
        whole = run in (entry.get("run_id"), entry.get("mlflow", {}).get("parent_run_id"))
        return whole or _training_of(entry, run) is not None

    def is_latest(entry: Ledger) -> bool:
        return wanted in entry.get("stages", {})

    found = ledgers.newest(home, is_latest if run == LATEST else is_named)
    if found is None:
        what = f"run with a {wanted}" if run == LATEST else "run, or training of one,"
        remedy = "run `unveil run` first" if run == LATEST else "give an id from runs/ or of MLflow"
        raise ConfigError(f"is no {what} in this workspace", where=f"--run {run}", remedy=remedy)
    own = _training_of(found, run)
    if own is not None and stage not in (None, own):
        raise ConfigError(f"is the MLflow run of {own}", where=f"--run {run}", remedy="leave out --stage")
    if (own or wanted) not in found.get("stages", {}):
        came_to = ", ".join(name for name in STAGES if name in found.get("stages", {})) or "no training"
        raise ConfigError(f"has no {wanted}", where=f"--run {run}", remedy=f"it came to {came_to}")
    return found, own or wanted


def _training_of(entry: Ledger, run: str) -> str | None:
    """The training whose own MLflow run it is."""
    found = entry.get("stages", {})
    return next((name for name in STAGES if found.get(name, {}).get("mlflow_run_id") == run), None)


def _key(ledger: Ledger, stage: str) -> Mapping[str, Any] | None:
    """What decided a finished training; nothing of one that failed."""
    return _artifact(ledger, stage).manifest().key if ledger["stages"][stage].get("artifact") else None


def _pretraining(ledger: Ledger, key: Mapping[str, Any] | None) -> PretrainingReading:
    """Of a training that failed, the run's configuration tells the settings."""
    tokens = _input(ledger, "tokenization", key)
    if key is not None:
        training, continued = dict(key["config"]["training"]), "champion" in key["inputs"]
    else:
        training, continued = (
            dict(ledger["config"]["pretraining"]["training"]),
            ledger["flow"] == "retraining",
        )
        if continued:
            training["steps"] = ledger["config"]["retraining"]["steps"]
    documents = _artifact(ledger, "cleaning").file("documents.parquet")
    return window_tracing.reading_of(tokens.path, training, continued=continued, documents=documents)


def _finetuning(ledger: Ledger, stage: str, key: Mapping[str, Any] | None) -> FineTuningReading:
    """Of a training that failed, the run's configuration tells the settings."""
    own = stage.removeprefix(example_tracing.PREFIX).replace("-", "_")
    config = ledger["config"]["finetuning"][own] if key is None else key["config"]
    inputs = {name: _input(ledger, name, key) for name in ("cleaning", PRETRAINING)}
    return example_tracing.reading_of(stage, config, inputs)


def _input(ledger: Ledger, stage: str, key: Mapping[str, Any] | None) -> Artifact:
    """What a stage read; refused if it is not what the key names."""
    artifact = _artifact(ledger, stage)
    if key is not None and key["inputs"][stage] != artifact.manifest().content:
        problem, remedy = "is not what this run's model was trained on", "run again with the same settings"
        raise ArtifactError(problem, stage=stage, where=artifact.path, remedy=remedy)
    return artifact


def _artifact(ledger: Ledger, stage: str) -> Artifact:
    path = ledger.get("stages", {}).get(stage, {}).get("artifact")
    if not path or not Path(path).is_dir():
        raise ArtifactError(
            "the artefact of this run is not there",
            stage=stage,
            where=path or ledger.get("run_id"),
            remedy="run again with the same settings to have it built again",
        )
    return Artifact(stage=stage, fingerprint="", content="", path=Path(path))


def _made_by_other_code(stage: str, key: Mapping[str, Any] | None) -> bool:
    core = next(each.core for each in stages.ALL if each.name == stage)
    return key is not None and key.get("code") != code_version.modules(core.partition(":")[0])


def _measured(ledger: Ledger, stage: str, step: int) -> dict[str, float]:
    """The step's row of the curves; nothing where the training did not finish."""
    import pyarrow.parquet as pq

    if not ledger["stages"][stage].get("artifact"):
        return {}
    curves = _artifact(ledger, stage).file("curves.parquet")
    rows = pq.read_table(curves, columns=["step", *_MEASURED], filters=[("step", "=", step)]).to_pylist()
    return {name: row[name] for row in rows for name in _MEASURED if row[name] is not None}
