"""What one step of a training read, worked out again from the step's number: nothing was logged for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks import example_tracing, ledgers, tables
from tasks.artifacts import Artifact
from tasks.errors import ArtifactError, ConfigError
from tasks.passages import Passage, excerpt_of, provenance
from tasks.tokenization import CONTINUATION
from tasks.vocabulary import load_tokenizer

if TYPE_CHECKING:
    from models.shards import TokenShard

LATEST = "latest"
PRETRAINING, FINETUNING = "pretraining", "finetuning-"
STAGES = (PRETRAINING, *(f"{FINETUNING}{task}" for task in tables.LABELLED))
_MEASURED = ("loss", "gradient_norm", "learning_rate")

Ledger = Mapping[str, Any]


@dataclass(frozen=True)
class Traced:
    """What a step read, and what was measured in it; ``measured`` is empty where no curve was kept."""

    run: str
    stage: str
    step: int
    steps: int
    measured: Mapping[str, float]
    passages: tuple[Passage, ...]


@dataclass(frozen=True)
class Reading:
    """A shard and the numbers that decide which of its windows a step reads."""

    shard: TokenShard
    tokenizer: Path
    steps: int
    context_length: int
    batch_size: int
    seed: int

    def windows(self, step: int) -> list[int]:
        """Offsets of the windows of ``step``, from 1."""
        from models.loader import WindowSampler

        sampler = WindowSampler(
            self.shard, context_length=self.context_length, batch_size=self.batch_size, seed=self.seed
        )
        return [int(offset) for offset in sampler.windows_of(step - 1)]


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
    training = _reading(ledger) if stage == PRETRAINING else _lesson(ledger, stage)
    if not 1 <= step <= training.steps:
        remedy = f"name a step from 1 to {training.steps}"
        raise ConfigError("is no step of this training", where=f"--step {step}", remedy=remedy)
    cleaning = _artifact(ledger, "cleaning")
    if isinstance(training, Reading):
        found = passages(training, step, cleaning.file("documents.parquet"))
    else:
        labelled = cleaning.file(f"labelled/{stage.removeprefix(FINETUNING)}.parquet")
        found = example_tracing.passages(training, step, labelled)
    measured = _measured(ledger, stage, step)
    return Traced(str(ledger["run_id"]), stage, step, training.steps, measured, tuple(found))


def find_run(home: Path, run: str, stage: str | None) -> tuple[Ledger, str]:
    """The ledger and the stage that an id names; ``latest`` is the newest run that came to the stage.

    Raises:
        ConfigError: there is none.
    """

    def named(entry: Ledger) -> str | None:
        stages = entry.get("stages", {})
        own = {name: stages[name].get("mlflow_run_id") for name in STAGES if name in stages}
        whole = run in (LATEST, entry.get("run_id"), entry.get("mlflow", {}).get("parent_run_id"))
        wanted = [stage or PRETRAINING] if whole else [name for name, number in own.items() if number == run]
        return next((name for name in wanted if name in own and stage in (None, name)), None)

    found = ledgers.newest(home, lambda entry: named(entry) is not None)
    if found is None:
        training = stage or (PRETRAINING if run == LATEST else "training")
        remedy = "run `unveil run` first" if run == LATEST else "give an id from runs/ or of MLflow"
        problem = f"is no run with a {training} in this workspace"
        raise ConfigError(problem, where=f"--run {run}", remedy=remedy)
    return found, str(named(found))


def passages(reading: Reading, step: int, documents: Path | None) -> Iterable[Passage]:
    """The parts of documents in the windows of a step; without ``documents``, their sources are left empty."""
    from models.seen import pieces_of

    tokenizer, ids = load_tokenizer(reading.tokenizer), reading.shard.documents.ids
    found = [
        (number, piece)
        for number, window in enumerate(reading.windows(step))
        for piece in pieces_of(reading.shard, window, reading.context_length)
    ]
    about = provenance(documents, {ids[piece.document] for _, piece in found}) if documents else {}
    for number, piece in found:
        tokens = reading.shard.tokens[piece.start : piece.start + piece.tokens]
        known = about.get(ids[piece.document], {})
        yield Passage(
            window=number,
            document=ids[piece.document],
            source=str(known.get("source", "")),
            uri=str(known.get("uri", "")),
            licence=str(known.get("licence", "")),
            first=piece.first,
            tokens=piece.tokens,
            excerpt=excerpt_of(tokenizer, tokens.tolist()),
        )


def reading_of(tokens: Path, training: Mapping[str, Any], *, continued: bool) -> Reading:
    """What a training with these settings reads of a tokenization artefact's folder."""
    from models.shards import TokenShard

    return Reading(
        shard=TokenShard(tokens, CONTINUATION if continued else "train"),
        tokenizer=tokens / "tokenizer.json",
        steps=int(training["steps"]),
        context_length=int(training["context_length"]),
        batch_size=int(training["batch_size"]),
        seed=int(training["seed"]),
    )


def _reading(ledger: Ledger) -> Reading:
    """Of a finished training its artefact's key tells the settings; of one that failed, the run's configuration."""
    tokens = _artifact(ledger, "tokenization").path
    entry = ledger.get("stages", {}).get("pretraining", {})
    if entry.get("artifact"):
        key = _artifact(ledger, "pretraining").manifest().key
        _check_input(ledger, key, "tokenization")
        return reading_of(tokens, key["config"]["training"], continued="champion" in key["inputs"])
    training = dict(ledger["config"]["pretraining"]["training"])
    continued = ledger.get("flow") == "retraining"
    if continued:
        training["steps"] = ledger["config"]["retraining"]["steps"]
    return reading_of(tokens, training, continued=continued)


def _lesson(ledger: Ledger, stage: str) -> example_tracing.Lesson:
    """Of a finished fine-tuning; one that failed left no examples, but its error names the rows it stopped at."""
    artifact = _artifact(ledger, stage)
    key = artifact.manifest().key
    _check_input(ledger, key, "cleaning")
    return example_tracing.lesson_of(artifact, key["config"]["training"])


def _check_input(ledger: Ledger, key: Mapping[str, Any], stage: str) -> None:
    """Refuse a stage's artefact that is not what the model was trained on."""
    artifact = _artifact(ledger, stage)
    if key["inputs"][stage] != artifact.manifest().content:
        remedy = "run again with the same settings"
        problem = "is not what this run's model was trained on"
        raise ArtifactError(problem, stage=stage, where=artifact.path, remedy=remedy)


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


def _measured(ledger: Ledger, stage: str, step: int) -> dict[str, float]:
    """The step's row of the curves; nothing where the training did not finish."""
    import pyarrow.parquet as pq

    if not ledger.get("stages", {}).get(stage, {}).get("artifact"):
        return {}
    curves = _artifact(ledger, stage).file("curves.parquet")
    rows = pq.read_table(curves, columns=["step", *_MEASURED], filters=[("step", "=", step)]).to_pylist()
    return {name: row[name] for row in rows for name in _MEASURED if row[name] is not None}
