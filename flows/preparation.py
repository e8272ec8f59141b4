"""From sources to what a model can learn from: documents, clean documents, tokens and word vectors."""

from __future__ import annotations

from typing import Any, NamedTuple

from prefect import flow

from flows.ingestion import ingest
from flows.running import run_flow
from flows.settings import RunConfig
from tasks import stages
from tasks.artifacts import Artifact


class Prepared(NamedTuple):
    """References to everything preparation makes."""

    raw: Artifact
    clean: Artifact
    tokens: Artifact
    vectors: Artifact


@flow(name="preparation", flow_run_name="preparation-{preset}")
def preparation(preset: str = "demo", settings: dict[str, Any] | None = None) -> dict[str, Any]:
    """Fetch, clean and tokenise the corpus and train word vectors; returns the run's ledger."""
    return run_flow("preparation", prepare, preset, settings)


def prepare(config: RunConfig) -> Prepared:
    """Ingest, clean, tokenise, embed."""
    raw = ingest(config)
    clean = stages.cleaning(config.cleaning, ingestion=raw)
    tokens = stages.tokenization(config.tokenization, cleaning=clean)
    vectors = stages.embeddings(config.embeddings, cleaning=clean)
    return Prepared(raw, clean, tokens, vectors)
