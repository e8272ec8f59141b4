"""Small contestants: real models and tokenizers, evaluations whose numbers we choose."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tasks import tables
from tasks.artifacts import Artifact, Store
from tasks.evaluation.config import EvaluationConfig
from tasks.evaluation.findings import ITEMS, Item
from tasks.evaluation.records import DOCUMENTS
from tests.tasks.evaluation import tiny_inputs

EVALUATION = EvaluationConfig(precision="fp32", threads=1)


def corpus(store: Store, test: int = 30, train: int = 30) -> Artifact:
    return tiny_inputs.clean(store, tiny_inputs.documents(test, train))


def documents(cleaning: Artifact, bits: Mapping[str, float], noise: float = 0.02) -> list[dict[str, Any]]:
    """Rows of an evaluation in which each model needs so many bits per byte, a little more or less."""
    draw, rows = np.random.default_rng(3), []
    tests = [r for r in tables.iterate(cleaning.file("documents.parquet")) if r["split"] == "test"]
    for model, value in bits.items():
        for row in tests:
            nats = (value + draw.normal(0, noise)) * row["bytes"] * np.log(2)
            about = {"id": row["id"], "domain": row["domain"], "model": model, "metric": "bits_per_byte"}
            rows.append({**about, "nats": nats, "predictions": 7, "bytes": row["bytes"]})
    return rows


def answers(task: str, metric: str, shares: Mapping[str, float], n: int = 600) -> list[Item]:
    """Items of which each model has such a share right; the easy ones are easy for all."""
    draw = np.random.default_rng(4)
    hard = {name: np.clip(np.arange(n) / n + draw.normal(0, 0.05, n), 0, 1) for name in shares}
    return [
        Item(task, metric, f"{task}-{place}", "", name, float(hard[name][place] < share))
        for name, share in shares.items()
        for place in range(n)
    ]


def evaluation(
    store: Store, cleaning: Artifact, rows: list[dict[str, Any]], items: list[Item], **key: Any
) -> Artifact:
    def write(folder: Path) -> None:
        tables.write(folder / "documents.parquet", rows, DOCUMENTS)
        tables.write(folder / "items.parquet", (item.row() for item in items), ITEMS)

    about = {"config": EVALUATION.model_dump(mode="json"), "code": {"a": "1"}, "libraries": {}, **key}
    return tiny_inputs.artifact(store, "evaluation", write, inputs={"cleaning": cleaning.content}, **about)


def candidate(
    home: Path,
    *,
    bits: Mapping[str, float] | None = None,
    items: list[Item] = [],  # noqa: B006 - never changed
    cleaning: Artifact | None = None,
    seed: int = 0,
    **key: Any,
) -> dict[str, Artifact]:
    """All artefacts of a candidate by stage."""
    store = Store(home)
    cleaning = cleaning or corpus(store)
    tokens = tiny_inputs.tokens(store, cleaning)
    model = tiny_inputs.model(store, tokens, seed=seed)
    rows = documents(cleaning, bits or {"model": 2.0, "unigram": 4.0})
    records = evaluation(store, cleaning, rows, list(items), seed=seed, **key)
    return {"cleaning": cleaning, "tokenization": tokens, "pretraining": model, "evaluation": records}


def against(challenger: Mapping[str, Artifact], champion: Mapping[str, Artifact]) -> dict[str, Artifact]:
    """The inputs of the promotion stage."""
    return {**challenger, **{f"champion-{stage}": artifact for stage, artifact in champion.items()}}
