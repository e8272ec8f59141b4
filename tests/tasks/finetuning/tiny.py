"""Labelled texts of ours and an untrained model under them, in a store; as a program, a fine-tuning to kill.

PYTHONPATH=. python tests/tasks/finetuning/tiny.py HOME FOLDER '{"steps": 40}'
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from models.finetuning_config import FineTuningConfig
from tasks import tables
from tasks.artifacts import Artifact, Store
from tasks.finetuning.sentiment import SentimentConfig, SentimentSummary, finetune_sentiment
from tests.tasks.evaluation.tiny_inputs import artifact, documents, model, tokens

_TEXT = "the old river ran past a quiet mill and every child knew its slow green water by name"
_WORDS = _TEXT.split()
_TONES = {
    "bad": ("dreadful", "sad", "worse"),
    "good": ("lovely", "glad", "better"),
    "so-so": ("plain", "even"),
}
_SIZES = {"train": 90, "validation": 24, "test": 30}
Change = Callable[[dict[str, Any]], dict[str, Any] | None]


def labelled(sizes: dict[str, int] | None = None, seed: int = 3) -> list[dict[str, Any]]:
    """Sentences with a word that gives their label away."""
    draw, rows = random.Random(seed), []
    for split, size in (sizes or _SIZES).items():
        for number in range(size):
            label = draw.choices(list(_TONES), weights=(3, 4, 2))[0]
            words = [draw.choice(_WORDS) for _ in range(draw.randint(2, 5))]
            words.insert(draw.randrange(len(words)), draw.choice(_TONES[label]))
            rows.append(
                {
                    "id": f"{split}-{number}",
                    "text": " ".join(words) + ".",
                    "label": label,
                    "rating": None,
                    "split": split,
                    "source": "ours",
                    "uri": f"tests:{split}/{number}",
                    "licence": "CC0-1.0",
                    "sha256": "0" * 64,
                }
            )
    return rows


def clean(store: Store, rows: Sequence[dict[str, Any]]) -> Artifact:
    """A cleaning artefact with documents and these labelled rows."""

    def write(folder: Path) -> None:
        tables.write(folder / "documents.parquet", documents(4), tables.CLEAN_DOCUMENTS)
        tables.write(folder / "labelled" / "sentiment.parquet", rows, tables.SENTIMENT)

    return artifact(store, "cleaning", write, rows=[(row["id"], row["text"], row["label"]) for row in rows])


def inputs(home: Path, change: Change | None = None) -> dict[str, Artifact]:
    """The inputs of fine-tuning; `change` alters every labelled row, or leaves it out with None."""
    store, rows = Store(home), labelled()
    base = model(store, tokens(store, clean(store, rows)))
    changed = rows if change is None else [row for row in map(change, rows) if row is not None]
    return {"pretraining": base, "cleaning": clean(store, changed)}


def config(bidirectional: bool = True, **changes: Any) -> SentimentConfig:
    """A run of 40 steps in float32 on one thread."""
    values: dict[str, Any] = {
        "steps": 40,
        "batch_size": 16,
        "max_tokens": 32,
        "optimiser": "muon",
        "learning_rate": 0.02,
        "adam_learning_rate": 0.02,
        "precision": "fp32",
        "checkpoint_every": 10,
        "validate_every": 20,
        "threads": 1,
    }
    return SentimentConfig(training=FineTuningConfig(**(values | changes)), bidirectional=bidirectional)


def finetuned(store: Store, given: dict[str, Artifact], **changes: Any) -> Artifact:
    """A fine-tuned classifier as an artefact."""
    settings = config(**changes)

    def write(folder: Path) -> dict[str, Any]:
        return finetune_sentiment(given, settings, folder).model_dump(mode="json")

    key = {name: each.content for name, each in given.items()}
    return artifact(store, "finetuning-sentiment", write, config=settings.model_dump(mode="json"), **key)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but checkpoints."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def run(home: Path, folder: Path, **changes: Any) -> SentimentSummary:
    """Fine-tune on the inputs in `home`, made when missing."""
    folder.mkdir(exist_ok=True)
    return finetune_sentiment(inputs(home), config(**changes), folder)


if __name__ == "__main__":
    run(Path(sys.argv[1]), Path(sys.argv[2]), **json.loads(sys.argv[3]))
