"""Records, examples and fine-tunings as the examinations leave them, made up, with a text of our choosing in them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks import tables
from tasks.artifacts import Artifact, Store
from tasks.evaluation.records import RECORDS, Record
from tests.tasks.evaluation.tiny_inputs import artifact

TASKS = {
    "sentiment": ("accuracy", {"majority": 0.45, "tfidf_logistic_regression": 0.62}, 0.68),
    "question_answering": (
        "f1",
        {"always_no_answer": 0.2, "random_span": 0.05, "sliding_window": 0.14},
        0.21,
    ),
    "translation": ("chrf", {"copy": 18.0, "nearest_neighbour": 31.5}, 24.2),
}
_CURVES = pa.schema(
    [(name, pa.float64()) for name in ("step", "examples", "loss", "validation_loss", "validation_score")]
)


def add(folder: Path, text: str) -> None:
    """Put the numbers and examples of every examination into an evaluation's folder."""
    rows = tables.read_arrow(folder / "records.parquet").to_pylist()
    rows += [record.row() for record in [*_of_tasks(), *_of_bias(text), *_of_others(text)]]
    tables.write(folder / "records.parquet", rows, RECORDS)
    (folder / "shown.json").write_text(json.dumps(shown(text)))


def _of_tasks() -> list[Record]:
    found = []
    for suite, (metric, baselines, ours) in TASKS.items():
        half = 0.05 * (1 if ours < 1 else 40)
        for name, value in {"model": ours, **baselines}.items():
            bounds = {"low": value - half, "high": value + half}
            found.append(Record(suite, metric, name, value, 93, "share", "bootstrap", **bounds))
        for name, value in baselines.items():
            gap = ours - value
            bounds = {"low": gap - half, "high": gap + half}
            found.append(
                Record(
                    suite,
                    f"{metric}_difference",
                    "model",
                    gap,
                    93,
                    "share",
                    "paired",
                    baseline=name,
                    **bounds,
                )
            )
    found.append(Record("translation", "placeholder_survival", "model", 0.5, 12, "share", "no interval"))
    return found


def _of_bias(text: str) -> list[Record]:
    found = []
    for domain, ours, null, n in (("(all)", 0.52, 0.43, 838), (text, 0.55, 0.54, 87)):
        for name, value in (("model", ours), ("unigram", null)):
            found.append(
                Record(
                    "crows_pairs",
                    "prefers_stereotype",
                    name,
                    value,
                    n,
                    "share",
                    "Wilson's interval",
                    condition="shared tokens",
                    domain=domain,
                    low=value - 0.03,
                    high=value + 0.03,
                )
            )
        found.append(
            Record(
                "crows_pairs",
                "prefers_stereotype_difference",
                "model",
                ours - null,
                n,
                "share",
                "paired",
                baseline="unigram",
                condition="shared tokens",
                domain=domain,
                low=ours - null - 0.04,
                high=ours - null + 0.04,
            )
        )
    unread = Record("crows_pairs", "interpretable", "model", 0.0, 838, "0 or 1", f"it reads no {text}")
    flips = [
        Record(
            "identity_swaps",
            "flip_rate",
            name,
            value,
            400,
            "share",
            text,
            low=value - 0.01,
            high=value + 0.01,
        )
        for name, value in (("model", 0.041), ("neutral_words", 0.039))
    ]
    return [*found, unread, *flips]


def _of_others(text: str) -> list[Record]:
    return [
        Record("toxicity", "toxic_share", "model", 0.012, 400, "share", text, low=0.005, high=0.028),
        Record("memorisation", "exposure", "model", 1.9, 20, "bits", "canaries", condition=text),
        Record("explanation", "sufficiency_difference", "model", 0.11, 60, "probability", "paired",
               baseline="random", low=0.08, high=0.14),
        Record("cost", "peak_memory", "model", 412_000_000.0, 1, "bytes", "measured"),
        Record("a_new_suite", "a_new_measure", text, 3.25, 7, "things", "counted"),
        Record("generation", "self_bleu", "model", 0.31, 8, "share", "mean"),
    ]  # fmt: skip


def shown(text: str) -> dict[str, Any]:
    """Examples of the shapes that examinations give."""
    sentiment = {
        "labels": ["negative", text],
        "confusion": [[30, 12], [9, 42]],
        "predictions": [{"text": text, "gold": "positive", "predicted": text, "probability": 0.81}] * 10,
    }
    swaps = {"label": text, "worst": [{"sentence": text, "words": [text, "she"], "gap": 0.2}], "note": text}
    texts = [
        {
            "text": text,
            "pieces": ["a ", text, " fine", " film"],
            "scores": [0.0, -0.4, 0.9, 0.1],
            "method": text,
        }
    ]
    return {
        "sentiment": sentiment,
        "question_answering": {"examples": [{"question": text, "answer": text, "predicted": ""}]},
        "translation": {"examples": [{"source": text, "reference": text, "predicted": text}], text: text},
        "bias": {"crows_pairs": {"pairs": 9, "note": text, "largest": [{"group": text, "more": text}]}},
        "swaps": {"identity_swaps": swaps},
        "toxicity": {"prompts": [text, text], "by_kind": {text: {"n": 3, "share": 0.1}}},
        "memorisation": {"remembered": [], "nothing": None},
        "explanation": {"texts": texts, "nested": {"deeper": {"of": text, "words": [text]}}},
    }


def finetunings(store: Store, text: str) -> dict[str, Artifact]:
    """The artefacts of the three fine-tunings, as far as the report reads them."""

    def write(folder: Path) -> dict[str, Any]:
        tables.write(folder / "curves.parquet", curve_rows(40), _CURVES)
        (folder / "finetuning.json").write_text("{}")
        cost = {"task": text, "parameters": 9_520, "examples": 321, "left_out": 2, "steps": 40, "epochs": 1.5}
        return cost | {"training_loss": 0.4, "validation": {"score": 0.6}}

    names = [f"finetuning-{suite.replace('_', '-')}" for suite in TASKS]
    return {name: artifact(store, name, write, text=text) for name in names}


def curve_rows(steps: int) -> list[dict[str, Any]]:
    """A falling loss, with a validation every ten steps."""
    return [
        dict.fromkeys(_CURVES.names)
        | {"step": step, "loss": math.exp(-step / 20), "examples": 8.0}
        | ({"validation_loss": 0.5, "validation_score": step / 100} if step % 10 == 0 else {})
        for step in range(1, steps + 1)
    ]
