"""From sources to what a model can learn from: documents, clean documents, tokens and word vectors."""

from __future__ import annotations

from typing import Any, NamedTuple

from flows.ingestion import ingest
from flows.orchestrated import flow
from flows.presets import Preset
from flows.running import run_flow
from flows.settings import RunConfig
from tasks import stages
from tasks.artifacts import Artifact
from tasks.tokenization import ContinuedTokenizationConfig


class Prepared(NamedTuple):
    """References to everything preparation makes."""

    raw: Artifact
    clean: Artifact
    tokens: Artifact
    vectors: Artifact


@flow(name="preparation", flow_run_name="preparation-{preset}")
def preparation(preset: Preset = "demo", settings: dict[str, Any] | None = None) -> dict[str, Any]:
    """Fetch, clean and tokenise the corpus and train word vectors; returns the run's ledger."""
    return run_flow("preparation", prepare, preset, settings)


def prepare(config: RunConfig) -> Prepared:
    """Ingest, clean, tokenise, embed."""
    return encode(config, *gather(config))


def gather(config: RunConfig) -> tuple[Artifact, Artifact]:
    """Ingest and clean; returns both documents."""
    raw = ingest(config)
    return raw, stages.cleaning(config.cleaning, ingestion=raw)


def encode(config: RunConfig, raw: Artifact, clean: Artifact, former: Artifact | None = None) -> Prepared:
    """Tokenise and embed. ``former`` are the tokens of a champion, whose tokenizer is kept."""
    tokens = _tokens(config, clean, former)
    vectors = stages.embeddings(config.embeddings, cleaning=clean)
    return Prepared(raw, clean, tokens, vectors)


def _tokens(config: RunConfig, clean: Artifact, former: Artifact | None) -> Artifact:
    if former is None:
        return stages.tokenization(config.tokenization, cleaning=clean)
    continued = ContinuedTokenizationConfig(
        **config.tokenization.model_dump(), replay=config.retraining.replay
    )
    return stages.tokenization(continued, cleaning=clean, former=former)
