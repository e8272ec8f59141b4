"""A few real steps of the real training, in a process of its own: `python -m models.calibration`.

What it is to do comes as JSON on standard input, what it measured goes to standard output. In a process of its
own, because only there the most memory ever held says something about the training, and because a training
that does not fit takes nobody else down.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from models.config import ModelConfig
from models.finetuning_config import FineTuningConfig
from models.training_config import TrainingConfig

FEWEST_STEPS = 5
"""The first step of a trial loads what later ones find loaded, and the last two are followed by a validation."""

_PATIENCE_SECONDS = 900.0
_MOST_VALIDATED = 16_384  # tokens
_DOCUMENT = 400
_STATUS = Path("/proc/self/status")


class Task(BaseModel):
    """What to try: so many steps of a training of this shape, with each of these (rows, micro-batches).

    All trials of a task share a process, and only the first one's memory is its own.
    """

    model_config = ConfigDict(extra="forbid")

    model: ModelConfig
    training: TrainingConfig | FineTuningConfig
    head: str = ""  # of a fine-tuning
    sizes: tuple[tuple[int, int], ...] = ()
    steps: int = Field(FEWEST_STEPS, ge=FEWEST_STEPS)


class Trial(NamedTuple):
    """What a few steps took: a step on average, since a run is a sum of steps; and what comes between them."""

    rows: int
    micro_batches: int
    seconds: float  # a step
    cpu_seconds: float
    joules: float | None
    validation_seconds: float  # of `validated` tokens
    validated: int
    checkpoint_seconds: float
    peak: int  # bytes, the most the process ever held


class CalibrationError(RuntimeError):
    """The steps could not be done here; the message says why."""


def calibrate(task: Task, folder: Path) -> tuple[Trial, ...]:
    """Do the steps of every size in a child process that works in `folder`.

    Raises:
        CalibrationError: it failed, ran out of memory, or took more than a quarter of an hour.
    """
    command = [sys.executable, "-m", "models.calibration", str(folder)]
    try:
        done = subprocess.run(  # noqa: S603 - our own module, by a list of arguments
            command,
            input=task.model_dump_json(),
            capture_output=True,
            text=True,
            timeout=_PATIENCE_SECONDS,
            check=True,
        )
        found = json.loads(done.stdout.splitlines()[-1])
    except subprocess.CalledProcessError as error:
        last = (error.stderr or "").strip().splitlines()[-1:] or [f"exit status {error.returncode}"]
        raise CalibrationError(last[0]) from error
    except (OSError, ValueError, IndexError, subprocess.TimeoutExpired) as error:
        raise CalibrationError(f"{type(error).__name__}: {error}") from error
    return tuple(Trial(*trial) for trial in found)


def perform(task: Task, folder: Path) -> tuple[Trial, ...]:
    """Do the steps in this process."""
    _load_everything(task, folder / "warm")
    return tuple(
        _trial(task, rows, micro_batches, folder / str(number))
        for number, (rows, micro_batches) in enumerate(task.sizes)
    )


def _load_everything(task: Task, folder: Path) -> None:
    """Train a tiny network, so that the first trial already holds every library."""
    tiny = ModelConfig(
        vocab_size=task.model.vocab_size,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=8,
        max_position_embeddings=16,
    )
    changed: dict[str, Any] = {"model": tiny}
    if isinstance(task.training, TrainingConfig):
        smaller: dict[str, Any] = {"context_length": 16, "validation_tokens": 64}
    else:
        smaller = {"max_tokens": 8}
    changed["training"] = task.training.model_copy(update=smaller)
    _trial(task.model_copy(update=changed | {"steps": FEWEST_STEPS}), 2, 1, folder)


def _trial(task: Task, rows: int, micro_batches: int, folder: Path) -> Trial:
    from models.energy import Reading

    folder.mkdir(parents=True)
    readings = [Reading.now()]

    def note(_step: int, _metrics: Mapping[str, float]) -> None:
        readings.append(Reading.now())

    validated = 0
    if isinstance(task.training, TrainingConfig):
        validated = min(task.training.validation_tokens, _MOST_VALIDATED)
        _pretrain(task, task.training, rows, micro_batches, validated, folder, note)
    else:
        _finetune(task, task.training, rows, folder, note)
    ended = Reading.now()
    steps = [now.since(before) for before, now in pairwise(readings[1:-2])]
    seconds = fmean(step.seconds for step in steps)
    joules = [step.joules for step in steps if step.joules is not None]
    last = readings[-1].since(readings[-2]).seconds
    return Trial(
        rows=rows,
        micro_batches=micro_batches,
        seconds=seconds,
        cpu_seconds=fmean(step.cpu_seconds for step in steps),
        joules=fmean(joules) if len(joules) == len(steps) else None,
        validation_seconds=max(0.0, last - seconds),
        validated=validated,
        checkpoint_seconds=ended.since(readings[-1]).seconds,
        peak=_peak_memory(),
    )


def _pretrain(
    task: Task,
    training: TrainingConfig,
    rows: int,
    micro_batches: int,
    validated: int,
    folder: Path,
    note: Any,
) -> None:
    from models.trainer import train

    changes: dict[str, Any] = {
        "batch_size": rows * micro_batches,
        "gradient_accumulation": micro_batches,
        "validation_tokens": validated,
    }
    if training.objective == "hybrid" and rows * micro_batches < 2:
        changes["objective"] = "causal"
    config = training.model_copy(update=_short(task.steps) | changes | {"compile": "off"})
    shards = _random_shards(folder / "shards", task.model.vocab_size, rows * config.context_length, validated)
    train(task.model, config, shards, folder, on_metrics=note, identity={}, progress=False)


def _finetune(task: Task, config: FineTuningConfig, rows: int, folder: Path, note: Any) -> None:
    from models.examples import Example
    from models.finetuning import finetune
    from models.heads import QUESTION_ANSWERING
    from models.memory import head_for
    from models.transformer import LanguageModel

    length = min(config.max_tokens, task.model.max_position_embeddings)
    targets = (1, 2) if task.head == QUESTION_ANSWERING else (1,)
    generator = np.random.default_rng(0)
    examples = [
        Example(tuple(generator.integers(4, task.model.vocab_size, length).tolist()), targets)
        for _ in range(2 * rows)
    ]
    finetune(
        head_for(task.head, LanguageModel(task.model)),
        examples,
        config.model_copy(update=_short(task.steps) | {"batch_size": rows}),
        folder,
        pad_id=1,
        on_metrics=note,
        identity={},
        validate=lambda _head: {},
        progress=False,
    )


def _short(steps: int) -> dict[str, Any]:
    """One checkpoint at the end, and two validations, of which the second is the warm one."""
    return {"steps": steps, "checkpoint_every": steps, "validate_every": steps - 1}


def _random_shards(folder: Path, vocabulary: int, tokens: int, validated: int) -> Path:
    """Two splits of random words, in documents of middling length."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from models.shards import Seal

    folder.mkdir()
    generator = np.random.default_rng(0)
    splits: dict[str, Any] = {}
    for split, wanted in (("train", 2 * tokens), ("validation", max(2 * _DOCUMENT, validated))):
        starts = np.arange(0, wanted + 1, _DOCUMENT)
        ids = generator.integers(4, vocabulary, len(starts) * _DOCUMENT)
        ids[starts] = 0
        words, seal = ids.astype("<u4"), Seal()
        words.tofile(folder / f"{split}.bin")
        seal.update(words.data)
        table = {
            "id": [str(start) for start in starts],
            "start": starts,
            "end": starts + _DOCUMENT,
            "bytes": np.full(len(starts), 4 * _DOCUMENT),
        }
        pq.write_table(pa.table(table), folder / f"{split}.documents.parquet", write_page_checksum=True)
        counts = {"tokens": len(ids), "documents": len(starts), "bytes": 4 * len(ids)}
        splits[split] = counts | {"seal": seal.close("uint32", vocabulary, *counts.values())}
    index = {"dtype": "uint32", "vocab_size": vocabulary, "splits": splits}
    (folder / "index.json").write_text(json.dumps(index), encoding="utf-8")
    return folder


def _peak_memory() -> int:
    """The most memory that this process ever held, in bytes.

    Linux keeps the peak of the process; `getrusage` would tell its parent's if that was more.
    """
    import psutil

    try:
        lines = _STATUS.read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return int(psutil.Process().memory_info().rss)


def main() -> None:
    """Read a task, do it, write what was measured."""
    found = perform(Task.model_validate_json(sys.stdin.read()), Path(sys.argv[1]))
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
