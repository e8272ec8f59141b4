"""A small corpus of our own words, and an ingestion artefact made of whatever a test needs."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tasks import tables
from tasks.artifacts import Artifact

_VOCABULARY = """
the river a hill old stone quiet garden and of in to bright morning window traveller village bread
warm letter road under over child song winter summer bridge forest lamp story kitchen market horse
gentle rain evening light with from many small green harvest neighbour table candle mountain cloud
seven field through
"""
WORDS = _VOCABULARY.split()


def _provenance(text: str) -> dict[str, Any]:
    return {
        "source": "ours",
        "uri": "ours:1",
        "licence": "CC0-1.0",
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
    }


@pytest.fixture
def prose() -> Callable[[int, int], str]:
    """So many English-looking words, the same for the same seed."""

    def make(seed: int, count: int = 60) -> str:
        generator = random.Random(seed)
        return " ".join(generator.choice(WORDS) for _ in range(count)) + "."

    return make


@pytest.fixture
def document() -> Callable[..., dict[str, Any]]:
    """A row of ingestion's documents."""

    def make(key: str, text: str, form: str = "text", domain: str = "articles") -> dict[str, Any]:
        return {"id": key, "text": text, "format": form, "domain": domain, **_provenance(text)}

    return make


@pytest.fixture
def sentiment() -> Callable[..., dict[str, Any]]:
    """A row of ingestion's sentiment set."""

    def make(key: str, text: str) -> dict[str, Any]:
        return {"id": key, "text": text, "label": "neutral", "rating": 0.0, "split": "", **_provenance(text)}

    return make


@pytest.fixture
def question() -> Callable[..., dict[str, Any]]:
    """A row of ingestion's question answering set."""

    def make(key: str, context_id: str, context: str, answer: str, start: int) -> dict[str, Any]:
        row = {"id": key, "context_id": context_id, "context": context, "question": f"What is {key}?"}
        return row | {"answer": answer, "answer_start": start, "split": "", **_provenance(context)}

    return make


@pytest.fixture
def translation() -> Callable[..., dict[str, Any]]:
    """A row of ingestion's translation set."""

    def make(key: str, source: str, target: str) -> dict[str, Any]:
        return {"id": key, "source_text": source, "target_text": target, "split": "", **_provenance(source)}

    return make


@pytest.fixture
def ingestion(tmp_path: Path) -> Callable[..., Artifact]:
    """An ingestion artefact that holds these documents and labelled rows."""
    made: list[Path] = []

    def make(documents: Sequence[dict[str, Any]], **labelled: Sequence[dict[str, Any]]) -> Artifact:
        folder = tmp_path / f"ingestion-{len(made)}"
        made.append(folder)
        tables.write(folder / "documents.parquet", documents, tables.RAW_DOCUMENTS)
        for name, schema in tables.LABELLED.items():
            rows = labelled.get(name.replace("-", "_"), ())
            tables.write(folder / "labelled" / f"{name}.parquet", rows, schema)
        return Artifact(stage="ingestion", fingerprint="0" * 64, content="0" * 64, path=folder)

    return make
