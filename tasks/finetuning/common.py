"""What every fine-tuning shares: open the base and the labelled set, teach, write a model folder with its curves."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tasks import budget, tables
from tasks.artifacts import CHECKPOINTS, Artifact, write_synced
from tasks.config import Summary
from tasks.errors import ArtifactError, DataError
from tasks.training import History

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from models.examples import Example
    from models.finetuning import FineTuned, HeadT
    from models.finetuning_config import FineTuningConfig
    from models.transformer import LanguageModel

logger = logging.getLogger(__name__)

Row = dict[str, Any]
_HISTORY = "metrics.jsonl"
_CURVES = (("step", pa.int64()), ("examples", pa.float64()), ("loss", pa.float64()))
_RATES = (("learning_rate", pa.float64()), ("gradient_norm", pa.float64()))


class FineTuningSummary(Summary):
    """How a head was taught and how it does on the validation rows, which chose its settings."""

    task: str
    parameters: int
    examples: int
    left_out: int  # training rows that do not fit the model
    steps: int
    epochs: float
    training_loss: float
    validation: dict[str, float]


@dataclass(frozen=True)
class Base:
    """The pretrained model that a head is put on."""

    model: LanguageModel
    tokenizer: Tokenizer
    tokenizer_json: Path
    content: str

    @property
    def pad_id(self) -> int:
        """The token that fills short examples up."""
        pad = self.model.config.pad_token_id
        return 0 if pad is None else pad  # any token will do: the mask hides it


@dataclass(frozen=True)
class Lesson:
    """What a head learns from: the training rows, and the examples made from them in the order of a step's places."""

    rows: list[Row]
    examples: list[Example]
    incomplete: int  # rows that were cut to fit the model, or left out


def longest_input(base: Base, training: FineTuningConfig) -> int:
    """Tokens of an example at most: what is configured, or what the base can read if that is less."""
    return min(training.max_tokens, base.model.config.max_position_embeddings)


def open_base(inputs: Mapping[str, Artifact]) -> Base:
    """Open the pretrained model.

    Raises:
        ArtifactError: it cannot be used.
    """
    from models.export import load_pretrained, load_tokenizer

    artifact = inputs["pretraining"]
    try:
        model, tokenizer = load_pretrained(artifact.path), load_tokenizer(artifact.path)
    except ValueError as error:
        raise ArtifactError(str(error), stage="finetuning", remedy="run the earlier stages again") from error
    return Base(model, tokenizer, artifact.file("tokenizer.json"), artifact.content)


def labelled_rows(inputs: Mapping[str, Artifact], name: str, split: str) -> list[Row]:
    """The rows of one split of a labelled set, read through Hugging Face ``datasets``.

    Raises:
        ArtifactError: there is no such set.
        DataError: the split has no row.
    """
    path = inputs["cleaning"].file(f"labelled/{name}.parquet")
    table = tables.dataset(path)
    chosen = [place for place, value in enumerate(table["split"]) if value == split]
    if not chosen:
        raise DataError(f"the {split} split has no row", where=path, remedy="add labelled rows")
    rows: list[Row] = table.select(chosen).to_list()
    return rows


def teach(
    head: HeadT,
    examples: Sequence[Example],
    config: FineTuningConfig,
    folder: Path,
    *,
    base: Base,
    labelled: str,
    validate: Callable[[HeadT], dict[str, float]],
) -> tuple[FineTuned[HeadT], History]:
    """Fine-tune with MLflow's and our own curves; resumes from what a killed attempt left behind.

    ``labelled`` is a digest of the labelled examples, so that a checkpoint of others is not taken up;
    ``validate`` measures the head on validation rows, and its names become ``validation/<name>``.
    """
    from models.finetuning import finetune

    history = History(folder / CHECKPOINTS / _HISTORY)
    with budget.kept():
        taught = finetune(
            head,
            examples,
            config,
            folder,
            pad_id=base.pad_id,
            on_metrics=history.take,
            identity={"base": base.content, "labelled": labelled},
            validate=lambda trained: {f"validation/{k}": v for k, v in validate(trained).items()},
            budget=budget.current(),
        )
    return taught, history


def write_curves(history: History, folder: Path) -> None:
    """Write the metrics of every step as ``curves.parquet``: what is the same on every rerun, so no speed."""
    rows = history.rows()
    validations = sorted({name for _, values in rows for name in values if name.startswith("validation/")})
    measured = [(name.replace("/", "_"), name) for name in validations]
    schema = pa.schema([*_CURVES, *_RATES, *((column, pa.float64()) for column, _ in measured)])
    plain = [name for name, _ in (*_CURVES[1:], *_RATES)]
    tables.write(
        folder / "curves.parquet",
        (
            {"step": step}
            | {name: values.get(name) for name in plain}
            | {column: values.get(name) for column, name in measured}
            for step, values in rows
        ),
        schema,
    )


def summarise(
    task: str, base: Base, config: FineTuningConfig, history: History, examples: int, left_out: int
) -> FineTuningSummary:
    """What every fine-tuning tells about itself."""
    rows = history.rows()
    losses = [values["loss"] for _, values in rows if "loss" in values][-20:]
    validation: dict[str, float] = {}
    for _, values in rows:
        validation |= {k.partition("/")[2]: v for k, v in values.items() if k.startswith("validation/")}
    return FineTuningSummary(
        task=task,
        parameters=base.model.config.parameter_count(),
        examples=examples,
        left_out=left_out,
        steps=config.steps,
        epochs=config.steps * config.batch_size / examples,
        training_loss=sum(losses) / len(losses),
        validation=validation,
    )


def write_facts(summary: Summary, config: Any, folder: Path) -> None:
    """Write ``finetuning.json``: the configuration and the summary."""
    facts = {"config": config.model_dump(mode="json"), "summary": summary.model_dump(mode="json")}
    write_synced(folder / "finetuning.json", json.dumps(facts, indent=1, sort_keys=True))
