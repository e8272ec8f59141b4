"""Bring text and labelled examples in, with their provenance, and tell when the corpus has moved."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from flows.orchestrated import flow
from flows.presets import Preset
from flows.running import run_flow
from flows.settings import RunConfig
from tasks import drift, orchestration, runs, stages
from tasks.artifacts import Artifact

logger = logging.getLogger(__name__)

CORPUS_UPDATED = "unveil.corpus.updated"


@flow(name="ingestion", flow_run_name="ingestion-{preset}")
def ingestion(preset: Preset = "demo", settings: dict[str, Any] | None = None) -> dict[str, Any]:
    """Fetch every source that changed; returns the run's ledger.

    When the corpus has moved since a model was last trained on it, the event ``unveil.corpus.updated`` says so;
    the trigger in ``prefect.yaml`` then starts a retraining with the same preset and settings.
    """
    return run_flow(
        "ingestion", lambda config: watch(config, ingest(config), preset, settings), preset, settings
    )


def ingest(config: RunConfig) -> Artifact:
    """Read every source into one documents table and the labelled tables."""
    return stages.ingestion(config.ingestion)


def watch(
    config: RunConfig, raw: Artifact, preset: str, settings: Mapping[str, Any] | None
) -> drift.CorpusChange | None:
    """Compare the corpus with the one that was trained on last, and emit the event if it has moved."""
    change = drift.since_training(raw, config.retraining.drift)
    if change is None or not change.moved:
        logger.info("corpus: %s", "nothing to compare" if change is None else "has not moved")
        return change
    payload = {
        "preset": preset,
        "settings": settings,
        "summary": drift.describe(change),
        "change": change.model_dump(mode="json"),
        "ingestion": raw.fingerprint,
    }
    event = orchestration.announce(CORPUS_UPDATED, f"unveil.corpus.{preset}", f"corpus {preset}", payload)
    logger.info("corpus: %s; event %s %s", payload["summary"], CORPUS_UPDATED, event)
    run = runs.current()
    if run is not None:
        run.note("corpus", {"event": event, **change.model_dump(mode="json")})
    return change
