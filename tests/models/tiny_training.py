"""A shard folder and a run small enough for tests; as a program, a run that a test can kill.

PYTHONPATH=. python tests/models/tiny_training.py SHARDS FOLDER '{"steps": 20}'
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from models.config import ModelConfig
from models.shards import Seal
from models.trainer import TrainingResult, train
from models.training_config import TrainingConfig

VOCABULARY = 96
CONTEXT = 16
TINY = ModelConfig(
    vocab_size=VOCABULARY,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=16,
    max_position_embeddings=32,
)
IDENTITY = {"data": "synthetic"}


def write_split(folder: Path, split: str, documents: list[list[int]], vocab_size: int = VOCABULARY) -> None:
    """Write documents (token ids without the separator) as one split; three bytes a token."""
    folder.mkdir(parents=True, exist_ok=True)
    flat = np.array([token for document in documents for token in (0, *document)], dtype="<u2")
    flat.tofile(folder / f"{split}.bin")
    lengths = np.array([len(document) + 1 for document in documents], dtype=np.int64)
    ends = np.cumsum(lengths)
    sizes = 3 * (lengths - 1)
    columns = {
        "id": [f"{split}-{number}" for number in range(len(documents))],
        "start": ends - lengths,
        "end": ends,
        "bytes": sizes,
    }
    pq.write_table(pa.table(columns), folder / f"{split}.documents.parquet", write_page_checksum=True)
    path = folder / "index.json"
    index = json.loads(path.read_text()) if path.exists() else {"splits": {}}
    index |= {"dtype": "uint16", "vocab_size": vocab_size}
    counts = {"tokens": len(flat), "documents": len(documents), "bytes": int(sizes.sum())}
    seal = Seal()
    seal.update(flat.data)
    index["splits"][split] = counts | {"seal": seal.close("uint16", vocab_size, *counts.values())}
    path.write_text(json.dumps(index))


def write_shards(folder: Path, documents: int = 40) -> Path:
    """Write train and validation splits of a noisy cycle, which a model can learn."""
    generator = np.random.default_rng(7)

    def document() -> list[int]:
        start, length = int(generator.integers(4, VOCABULARY)), int(generator.integers(8, 40))
        return [
            4 + (start + 7 * place + int(generator.integers(2))) % (VOCABULARY - 4) for place in range(length)
        ]

    write_split(folder, "train", [document() for _ in range(documents)])
    write_split(folder, "validation", [document() for _ in range(6)])
    return folder


def tiny_config(**changes: Any) -> TrainingConfig:
    """A run of 20 steps in float32 on one thread."""
    values: dict[str, Any] = {
        "steps": 20,
        "batch_size": 4,
        "context_length": CONTEXT,
        "precision": "fp32",
        "compile": "off",
        "checkpoint_every": 5,
        "validate_every": 10,
        "validation_tokens": 100,
        "threads": 1,
    }
    return TrainingConfig(**(values | changes))


def run(shards: Path, folder: Path, **changes: Any) -> tuple[TrainingResult, list[dict[str, float]]]:
    """Train; return the result and every step's metrics."""
    seen: list[dict[str, float]] = []
    result = train(
        TINY,
        tiny_config(**changes),
        shards,
        folder,
        on_metrics=lambda step, metrics: seen.append({"step": step, **metrics}),
        progress=False,
        identity=IDENTITY,
    )
    return result, seen


def weights_digest(result: TrainingResult) -> str:
    """SHA-256 over all weights, bit by bit."""
    digest = hashlib.sha256()
    for name, tensor in sorted(result.model.state_dict().items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


if __name__ == "__main__":
    shards, folder = Path(sys.argv[1]), Path(sys.argv[2])

    def announce(step: int, metrics: dict[str, float]) -> None:
        """Tell the test where training stands."""
        sys.stdout.write(f"{step} {metrics['loss'].hex()}\n")
        sys.stdout.flush()

    outcome = train(
        TINY,
        tiny_config(**json.loads(sys.argv[3])),
        shards,
        folder,
        on_metrics=announce,
        progress=False,
        identity=IDENTITY,
    )
    sys.stdout.write(f"done {weights_digest(outcome)}\n")
