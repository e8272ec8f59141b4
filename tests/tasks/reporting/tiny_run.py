"""A whole run in small: what a report is made of, with texts of our choosing where data may speak."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from tasks import tables
from tasks.artifacts import Artifact, Store
from tasks.evaluation.config import EvaluationConfig, SamplePrompt
from tasks.evaluation.evaluate import evaluate
from tasks.evaluation.findings import Findings
from tasks.evaluation.records import Record
from tasks.evaluation.subject import Subject
from tasks.training import CURVES
from tests.tasks.evaluation import tiny_inputs
from tests.tasks.evaluation.tiny_inputs import artifact
from tests.tasks.reporting import tiny_examinations

STEPS = 40
_KEPT: list[TemporaryDirectory[str]] = []  # until the tests end


def run(
    home: Path,
    *,
    text: str = "plain words",
    objective: str = "causal",
    test: int = 12,
    curves: bool = True,
    examined: bool = False,
    people: int = 0,
) -> dict[str, Artifact]:
    """The inputs of the reporting stage; `text` is planted wherever data, files or prompts are quoted.

    `people` names were found in books, by a model of the user's.

    With `examined` the model was fine-tuned and went through every examination.
    """
    store = Store(home)
    rows = [row | {"source": text, "licence": text} for row in tiny_inputs.documents(test)]
    cleaning = _cleaning(store, rows, text, examined, people)
    tokenization = tiny_inputs.tokens(store, cleaning)
    pretraining = _pretraining(store, tokenization, objective, curves)
    inputs = {"cleaning": cleaning, "tokenization": tokenization, "pretraining": pretraining}
    evaluation = _evaluation(store, inputs, text, examined)
    made = {"ingestion": _ingestion(store, rows), "embeddings": _embeddings(store, text)}
    taught = tiny_examinations.finetunings(store, text) if examined else {}
    return made | inputs | {"evaluation": evaluation} | taught


@cache
def shared(**choices: Any) -> dict[str, Artifact]:
    """A run like `run`'s for tests that only read it: built once for equal choices."""
    home = TemporaryDirectory()
    _KEPT.append(home)
    return run(Path(home.name), **choices)


def _ingestion(store: Store, rows: list[dict[str, Any]]) -> Artifact:
    names = tables.RAW_DOCUMENTS.names

    def write(folder: Path) -> dict[str, Any]:
        raw = [{name: row.get(name, "text") for name in names} for row in rows]
        tables.write(folder / "documents.parquet", raw, tables.RAW_DOCUMENTS)
        return {"quarantined": 3, "sources": {"a": {"left_out": 4}, "b": {"left_out": 5}}}

    return artifact(store, "ingestion", write, rows=len(rows))


def _cleaning(store: Store, rows: list[dict[str, Any]], text: str, labelled: bool, people: int) -> Artifact:
    named = {"person": people} if people else {}
    split = {"train": 30, "validation": 1, "test": 12}
    example = {"dropped": 2, "bytes": 1234, "domains": {"books": 2}, "samples": [{"reason": text}]}
    report = {
        "documents": {"in": len(rows) + 2, "dropped": 2},
        "rules": {text: example},
        "changes": {
            text: {"changed": 2, "bytes_before": 4321, "bytes_after": 1234, "samples": [{"reason": text}]},
        },
        "personal_data": {"books": {"records": 21, "email": 17} | named, text: {"records": 1, "phone": 13}},
        "labelled": {"sentiment": {"in": 9, "kept": 8, "splits": split}, "none": {"in": 0}},
    }

    def write(folder: Path) -> dict[str, Any]:
        tables.write(folder / "documents.parquet", rows, tables.CLEAN_DOCUMENTS)
        (folder / "filter_report.json").write_text(json.dumps(report))
        if labelled:
            (folder / "labelled").mkdir()
            row = dict.fromkeys(tables.SENTIMENT.names) | {"source": text, "licence": text}
            tables.write(folder / "labelled" / "sentiment.parquet", [row], tables.SENTIMENT)
        counts = {"records_in": len(rows) + 2, "kept": len(rows), "dropped": 2}
        return {"documents": counts, "bytes_in": 12_345, "bytes_out": 9_999, "words": 1_500}

    return artifact(store, "cleaning", write, rows=[row["id"] for row in rows], text=text, labelled=labelled)


def _embeddings(store: Store, text: str) -> Artifact:
    def write(folder: Path) -> dict[str, Any]:
        (folder / "neighbours.json").write_text(json.dumps({"river": [[text, 0.9], ["mill", 0.8]]}))
        ratings = {"spearman": 0.25, "pairs": 999, "found": 40}
        return {"vocabulary": 18, "dimensions": 64, "covered": 0.75, "similarity": {"simlex999": ratings}}

    return artifact(store, "embeddings", write, text=text)


def _pretraining(store: Store, tokenization: Artifact, objective: str, curves: bool) -> Artifact:
    base = tiny_inputs.model(store, tokenization, objective)

    def write(folder: Path) -> dict[str, Any]:
        for path in base.path.iterdir():
            if path.name != "manifest.json":
                (folder / path.name).write_bytes(path.read_bytes())
        if curves:
            tables.write(folder / "curves.parquet", curve_rows(STEPS), CURVES)
        cost = {"parameters": 9_520, "steps": STEPS, "tokens": 6_400, "epochs": 2.9, "flops": 3.7e8}
        return cost | {"training_loss": 1.5, "validation": {"bits_per_byte": 2.5}}

    return artifact(store, "pretraining", write, base=base.content, curves=curves)


def curve_rows(steps: int) -> list[dict[str, Any]]:
    """A falling curve with a validation every ten steps."""
    return [
        dict.fromkeys(CURVES.names)
        | {
            "step": step,
            "tokens": 160 * step,
            "loss": 1.0 + 5.0 * math.exp(-step / 10) + 0.1 * math.sin(3 * step),
            "learning_rate": 0.01,
            "validation_bits_per_byte": 2.5 + 10 / step if step % 10 == 0 else None,
        }
        for step in range(1, steps + 1)
    ]


def _size_alone(subject: Subject, *_: Any) -> Iterator[tuple[str, Findings]]:
    """In place of all examinations, which have tests of their own: how large the model is."""
    sizes = {"parameters": subject.model.config.parameter_count(), "training_tokens": 6_400}
    sizes["training_flops"] = 3 * 10**8
    records = [
        Record("cost", name, "model", float(size), 1, name, "counted", split="train")
        for name, size in sizes.items()
    ]
    yield "cost", Findings(records)


def _evaluation(store: Store, inputs: dict[str, Artifact], text: str, examined: bool) -> Artifact:
    config = EvaluationConfig(
        prompts=(SamplePrompt(domain=text[:64], text=text[:8]),),
        max_new_tokens=6,
        bootstrap_samples=100,
        precision="fp32",
        threads=1,
    )

    def write(folder: Path) -> dict[str, Any]:
        with patch("tasks.evaluation.evaluate.examinations", _size_alone):
            summary = evaluate(inputs, config, folder).model_dump(mode="json")
        (folder / "shown.json").unlink()
        samples = json.loads((folder / "samples.json").read_text())
        for sample in samples["samples"]:  # as if the model had said it
            sample["text"] = text
        for step in (samples["steps"] or {"steps": []})["steps"]:
            step["candidates"][0]["text"] = text
        (folder / "samples.json").write_text(json.dumps(samples))
        if examined:
            tiny_examinations.add(folder, text)
        return summary

    key = {"model": inputs["pretraining"].content, "text": text, "examined": examined}
    return artifact(store, "evaluation", write, **key)
