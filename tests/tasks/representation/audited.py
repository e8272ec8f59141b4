"""Evaluations of small corpora as far as the audit goes, in a store or as a bare folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tasks import tables
from tasks.artifacts import Artifact, Store
from tasks.canonical import fingerprint_of
from tasks.evaluation.records import RECORDS
from tasks.representation.audit import RepresentationConfig, examine_representation
from tasks.representation.corpus import Corpus, read

Documents = Iterable[Mapping[str, str]]


def people(women: int, men: int, first: int = 0, domain: str = "books") -> list[dict[str, str]]:
    """Documents that name a woman or a man, numbered from ``first``."""
    texts = ["She went home and slept."] * women + ["He went home and slept."] * men
    return [{"id": f"{n}", "text": text, "domain": domain} for n, text in enumerate(texts, first)]


def write(folder: Path, documents: Documents, **config: Any) -> Path:
    """What an evaluation of these documents leaves."""
    found = examine_representation(documents, RepresentationConfig(**config), samples=200, seed=0)
    tables.write(folder / "records.parquet", (record.row() for record in found.records), RECORDS)
    for name, table in found.tables.items():
        tables.write(folder / name, table.to_pylist(), table.schema)
    return folder


def corpus(folder: Path, documents: Documents, **config: Any) -> Corpus:
    """An audited corpus."""
    return read(write(folder, documents, **config))


def evaluation(
    home: Path, corpus_name: str, documents: Documents, name: str = "demo", **config: Any
) -> Artifact:
    """A published evaluation of a corpus; another ``config`` is another evaluation."""
    store, key = Store(home), {"config": config, "inputs": {"cleaning": corpus_name}}
    fingerprint = fingerprint_of(key)
    with store.locked("evaluation", name, fingerprint):
        write(store.begin("evaluation", name, fingerprint), documents, **config)
        return store.commit("evaluation", name, key, {})
