"""What one step of a pretraining read, worked out again from the step's number: nothing was logged for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks import ledgers, tables
from tasks.artifacts import Artifact
from tasks.errors import ArtifactError, ConfigError, one_line
from tasks.tokenization import CONTINUATION
from tasks.vocabulary import load_tokenizer

if TYPE_CHECKING:
    from models.shards import TokenShard

LATEST = "latest"
_EXCERPT = 120
_MEASURED = ("loss", "gradient_norm", "learning_rate")

Ledger = Mapping[str, Any]


@dataclass(frozen=True)
class Passage:
    """Part of a document in one window; ``first`` is its place there, ``excerpt`` its beginning, escaped."""

    window: int
    document: str
    source: str
    uri: str
    licence: str
    first: int
    tokens: int
    excerpt: str


@dataclass(frozen=True)
class Traced:
    """What a step read, and what was measured in it; ``measured`` is empty where no curve was kept."""

    run: str
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


def trace(home: Path, run: str, step: int) -> Traced:
    """List what ``step`` of a run's pretraining read.

    Args:
        home: the workspace.
        run: id of an unveil run, of its MLflow run or of that of its pretraining, or ``latest``.
        step: from 1, as in the curves.

    Raises:
        ConfigError: there is no such run or step, or the run has no pretraining.
        ArtifactError: what the run was made of is no longer there.
    """
    ledger = find_run(home, run)
    reading = _reading(ledger)
    if not 1 <= step <= reading.steps:
        remedy = f"name a step from 1 to {reading.steps}"
        raise ConfigError("is no step of this training", where=f"--step {step}", remedy=remedy)
    found = list(passages(reading, step, _artifact(ledger, "cleaning").file("documents.parquet")))
    return Traced(str(ledger["run_id"]), step, reading.steps, _measured(ledger, step), tuple(found))


def find_run(home: Path, run: str) -> Ledger:
    """The ledger of the run that an id names; ``latest`` is the newest one that came to pretraining.

    Raises:
        ConfigError: there is none.
    """

    def wanted(entry: Ledger) -> bool:
        stages = entry.get("stages", {})
        ids = {entry.get("run_id"), entry.get("mlflow", {}).get("parent_run_id")}
        ids.add(stages.get("pretraining", {}).get("mlflow_run_id"))
        return run in ids or (run == LATEST and "pretraining" in stages)

    found = ledgers.newest(home, wanted)
    if found is None:
        remedy = "give an id from runs/ or of MLflow, or leave it out for the newest run"
        raise ConfigError(
            "is no run with a pretraining in this workspace", where=f"--run {run}", remedy=remedy
        )
    return found


def passages(reading: Reading, step: int, documents: Path | None) -> Iterable[Passage]:
    """The parts of documents in the windows of a step; without ``documents``, their sources are left empty."""
    from models.seen import pieces_of

    tokenizer, ids = load_tokenizer(reading.tokenizer), reading.shard.documents.ids
    found = [
        (number, piece)
        for number, window in enumerate(reading.windows(step))
        for piece in pieces_of(reading.shard, window, reading.context_length)
    ]
    about = _provenance(documents, {ids[piece.document] for _, piece in found}) if documents else {}
    for number, piece in found:
        tokens = reading.shard.tokens[piece.start : piece.start + min(piece.tokens, _EXCERPT)]
        known = about.get(ids[piece.document], {})
        yield Passage(
            window=number,
            document=ids[piece.document],
            source=str(known.get("source", "")),
            uri=str(known.get("uri", "")),
            licence=str(known.get("licence", "")),
            first=piece.first,
            tokens=piece.tokens,
            excerpt=one_line(" ".join(tokenizer.decode(tokens.tolist()).split()), _EXCERPT),
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
        if key["inputs"]["tokenization"] != _artifact(ledger, "tokenization").manifest().content:
            problem, remedy = (
                "is not what this run's model was trained on",
                "run again with the same settings",
            )
            raise ArtifactError(problem, stage="tokenization", where=tokens, remedy=remedy)
        return reading_of(tokens, key["config"]["training"], continued="champion" in key["inputs"])
    training = dict(ledger["config"]["pretraining"]["training"])
    continued = ledger.get("flow") == "retraining"
    if continued:
        training["steps"] = ledger["config"]["retraining"]["steps"]
    return reading_of(tokens, training, continued=continued)


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


def _measured(ledger: Ledger, step: int) -> dict[str, float]:
    """The step's row of the curves; nothing where the training did not finish."""
    import pyarrow.parquet as pq

    path = ledger.get("stages", {}).get("pretraining", {}).get("artifact")
    if not path:
        return {}
    curves = _artifact(ledger, "pretraining").file("curves.parquet")
    rows = pq.read_table(curves, columns=["step", *_MEASURED], filters=[("step", "=", step)]).to_pylist()
    return {name: row[name] for row in rows for name in _MEASURED if row[name] is not None}


def _provenance(path: Path, ids: set[str]) -> dict[str, dict[str, Any]]:
    """Where documents are from, of those that are asked for; the texts are not read."""
    columns = ["id", "source", "uri", "licence"]
    return {row["id"]: row for row in tables.iterate(path, columns) if row["id"] in ids}
