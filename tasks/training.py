"""Pretraining as a stage: give the trunk its vocabulary, train it on the token shards, save a Hugging Face folder."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa
from pydantic import Field, model_validator

from models.ranks import append_metrics
from models.ranks_config import RanksConfig, refuse_uneven
from models.training_config import TrainingConfig
from tasks import budget, launch, metric_stream, planning, tables
from tasks.artifacts import CHECKPOINTS, Artifact, write_synced
from tasks.config import StageConfig, Summary
from tasks.errors import ConfigError
from tasks.tokenization import CONTINUATION

if TYPE_CHECKING:
    from torch import Tensor

    from models.config import ModelConfig
    from models.ranks import RankJob

logger = logging.getLogger(__name__)

CURVES = pa.schema(
    [
        ("step", pa.int64()),
        ("tokens", pa.int64()),
        ("loss", pa.float64()),
        ("learning_rate", pa.float64()),
        ("gradient_norm", pa.float64()),
        ("validation_loss", pa.float64()),
        ("validation_bits_per_byte", pa.float64()),
        ("validation_masked_loss", pa.float64()),
    ]
)
_HISTORY = "metrics.jsonl"


class ArchitectureConfig(StageConfig):
    """The shape of the network (Qwen3's); the vocabulary comes from the tokenizer."""

    hidden_size: int = Field(192, ge=8, le=65_536, description="Width of the residual stream.")
    intermediate_size: int = Field(512, ge=8, le=262_144, description="Inner width of the SwiGLU sub-layer.")
    num_hidden_layers: int = Field(6, ge=1, le=512, description="Stacked layers.")
    num_attention_heads: int = Field(6, ge=1, le=1024, description="Query heads per layer.")
    num_key_value_heads: int = Field(
        2, ge=1, le=1024, description="Key/value heads shared by the query heads."
    )
    head_dim: int = Field(32, ge=2, le=1024, description="Width of one head; even.")
    rope_theta: float = Field(10_000.0, gt=1.0, le=1e12, description="Base of the rotary frequencies.")

    def build(self, vocab_size: int, context_length: int) -> ModelConfig:
        """The complete configuration for a vocabulary and a context length."""
        from models.config import ModelConfig

        return ModelConfig(**self.model_dump(), vocab_size=vocab_size, max_position_embeddings=context_length)


class PretrainingConfig(StageConfig):
    """The network and how it is trained."""

    architecture: ArchitectureConfig = Field(ArchitectureConfig(), description="Shape of the network.")
    training: TrainingConfig = Field(
        TrainingConfig(), description="Objective, data order, optimiser, length."
    )
    ranks: RanksConfig = Field(RanksConfig(), description="How many processes train together, and how.")

    @model_validator(mode="after")
    def _batches_are_even(self) -> Self:
        refuse_uneven(
            self.training.batch_size, self.training.gradient_accumulation, max(1, self.ranks.number)
        )
        return self

    def deciding(self) -> dict[str, Any]:
        """All but the ranks: what they learn is the same, and a training may go on with another number of them."""
        return self.model_dump(mode="json", exclude={"ranks"})


class PretrainingSummary(Summary):
    """What training cost and where it ended."""

    parameters: int
    parameters_without_embeddings: int
    steps: int
    tokens: int
    epochs: float
    flops: float
    training_loss: float
    validation: dict[str, float]
    tokens_before: int  # read by the champion that this training goes on from


def pretrain(inputs: Mapping[str, Artifact], config: PretrainingConfig, folder: Path) -> PretrainingSummary:
    """Train from scratch and write the model; resumes from the checkpoints an earlier attempt left behind.

    With an input ``champion``, a model of this shape, training goes on from its weights, on the ``continuation``
    shard. The optimiser starts anew: a champion is a model, not an interrupted run.

    Raises:
        ConfigError: the champion has another shape or vocabulary.
        RanksError: a rank of several failed.
        UnveilError: a cap of the run's budget is reached.
        WaitingForRanksError: a cluster has to start the ranks.
    """
    from models.export import save_pretrained
    from models.shards import TokenShard
    from models.trainer import train

    shards, champion = inputs["tokenization"], inputs.get("champion")
    job, history = _job(inputs, config, folder), History(folder / CHECKPOINTS / _HISTORY)
    shape, split = job.model, job.split
    logger.info("pretraining: %s parameters", f"{shape.parameter_count():,}")
    planning.announce(shape, config.training)
    initial = None if champion is None else _weights(champion, shape)
    with budget.kept():
        _train_elsewhere(job, history)
        result = train(
            shape,
            job.training,
            shards.path,
            folder,
            on_metrics=history.take,
            identity=job.identity,
            initial=initial,
            split=split,
            budget=job.budget,
        )
    rows = history.rows()
    tables.write(folder / "curves.parquet", (_curve_row(step, values) for step, values in rows), CURVES)
    save_pretrained(result.model, folder, shards.file("tokenizer.json"))
    tokens = config.training.steps * config.training.batch_size * config.training.context_length
    summary = PretrainingSummary(
        parameters=shape.parameter_count(),
        parameters_without_embeddings=shape.parameter_count(embeddings=False),
        steps=config.training.steps,
        tokens=tokens,
        epochs=tokens / len(TokenShard(shards.path, split)),
        flops=6.0 * shape.parameter_count() * tokens,
        training_loss=_recent_loss(rows),
        validation=_last_validation(rows),
        tokens_before=0 if champion is None else _tokens_read(champion),
    )
    facts = {"architecture": shape.model_dump(), "training": config.training.model_dump(mode="json")}
    write_synced(
        folder / "training.json",
        json.dumps(facts | summary.model_dump(mode="json"), indent=1, sort_keys=True),
    )
    return summary


def _job(inputs: Mapping[str, Artifact], config: PretrainingConfig, folder: Path) -> RankJob:
    """What is to be trained, by whichever process."""
    from models.ranks import RankJob

    shards, champion = inputs["tokenization"], inputs.get("champion")
    index = json.loads(shards.file("index.json").read_text(encoding="utf-8"))
    return RankJob(
        model=config.architecture.build(index["vocab_size"], config.training.context_length),
        training=config.training,
        ranks=config.ranks,
        shards=shards.path.resolve(),
        folder=folder.resolve(),
        metrics=(folder / CHECKPOINTS / _HISTORY).resolve(),
        identity={"tokenization": shards.content} | ({"champion": champion.content} if champion else {}),
        initial=None if champion is None else champion.path.resolve(),
        split="train" if champion is None else CONTINUATION,
        budget=budget.current(),
    )


def _train_elsewhere(job: RankJob, history: History) -> None:
    """Have other processes do the training, if it is not for this one; what they finished is only read here."""
    from models.loop import open_checkpoints
    from models.meter import in_words
    from models.monitor import Progress
    from models.trainer import run_identity

    ranks = job.ranks
    if ranks.launch == "local" and ranks.number == 1:
        return
    resume = open_checkpoints(job.folder, run_identity(job.model, job.training, job.identity))
    if resume.begin >= job.training.steps:
        return
    if ranks.launch == "external":
        raise launch.ask_for_ranks(job, ranks.number)
    progress = Progress(job.training.steps, resume.begin, None)

    def show(step: int, metrics: dict[str, float]) -> None:
        progress.update(step, metrics, in_words(metrics, job.budget.currency))

    try:
        launch.train_with_ranks(job, ranks.number, lambda: history.follow(show))
    finally:
        progress.close()


def _weights(champion: Artifact, shape: ModelConfig) -> dict[str, Tensor]:
    """The champion's weights, if it has this shape."""
    from models.export import load_pretrained

    model = load_pretrained(champion.path)
    other = [name for name, value in shape.model_dump().items() if getattr(model.config, name) != value]
    if other:
        raise ConfigError(
            f"the champion's {other[0]} is {getattr(model.config, other[0])!r}, not {getattr(shape, other[0])!r}",
            where="pretraining.architecture",
            remedy="go on with the champion's settings, or train anew with `unveil run`",
        )
    return model.state_dict()


def _tokens_read(champion: Artifact) -> int:
    """Tokens that a champion read in all its trainings."""
    summary = champion.summary()
    return int(summary["tokens"]) + int(summary.get("tokens_before", 0))


class History:
    """Every step's metrics, sent to MLflow and kept beside the checkpoints.

    A resumed training starts a new MLflow run; the kept steps are replayed into it, so that its curves are whole.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._steps: dict[int, dict[str, float]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = path.read_text(encoding="utf-8") if path.exists() else ""
        for line in kept.splitlines():
            self._replay(line)
        if kept and not kept.endswith("\n"):
            # The next line must not continue the one a killed process was writing.
            with path.open("a", encoding="utf-8") as handle:
                handle.write("\n")
        self._read = path.stat().st_size if path.exists() else 0

    def follow(self, tell: Callable[[int, dict[str, float]], None]) -> None:
        """Take up the lines that another process has added since; `tell` is called with each step."""
        if not self.path.exists():
            return
        with self.path.open("rb") as handle:
            handle.seek(self._read)
            added = handle.read()
        whole = added[: added.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.decode("utf-8").splitlines():
            step, values = json.loads(line)
            self._keep(step, values)
            tell(step, values)

    def take(self, step: int, values: Mapping[str, float]) -> None:
        """Keep the metrics of one step; a step that is repeated after a resume replaces the former one."""
        self._keep(step, values)
        append_metrics(self.path, step, values)

    def rows(self) -> list[tuple[int, dict[str, float]]]:
        """All steps in order."""
        return sorted(self._steps.items())

    def _keep(self, step: int, values: Mapping[str, float]) -> None:
        if not self._steps.get(step, {}).keys() >= values.keys():
            _log(step, values)
        self._steps.setdefault(step, {}).update(values)

    def _replay(self, line: str) -> None:
        try:
            step, values = json.loads(line)
        except ValueError:  # The line a killed process was writing.
            return
        self._steps.setdefault(step, {}).update(values)
        _log(step, values)


def _log(step: int, values: Mapping[str, float]) -> None:
    """Log a step; what was seen so far has another name as a curve, because the summary's total has this one."""
    metric_stream.log_step(
        step,
        {f"{name}_seen" if name in ("tokens", "examples") else name: value for name, value in values.items()},
    )


def _curve_row(step: int, values: Mapping[str, float]) -> dict[str, Any]:
    """The part of a step's metrics that is the same on every rerun: no throughput."""
    return {
        "step": step,
        "tokens": None if "tokens" not in values else int(values["tokens"]),
        "loss": values.get("loss"),
        "learning_rate": values.get("learning_rate"),
        "gradient_norm": values.get("gradient_norm"),
        "validation_loss": values.get("validation/loss"),
        "validation_bits_per_byte": values.get("validation/bits_per_byte"),
        "validation_masked_loss": values.get("validation/masked_loss"),
    }


def _recent_loss(rows: list[tuple[int, dict[str, float]]], window: int = 20) -> float:
    losses = [values["loss"] for _, values in rows if "loss" in values][-window:]
    return sum(losses) / len(losses)


def _last_validation(rows: list[tuple[int, dict[str, float]]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for _, values in rows:
        found |= {
            key.partition("/")[2]: value for key, value in values.items() if key.startswith("validation/")
        }
    return found
