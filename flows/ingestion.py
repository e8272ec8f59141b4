"""Bring text and labelled examples in, with their provenance."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.running import run_flow
from flows.settings import RunConfig
from tasks import stages
from tasks.artifacts import Artifact


@flow(name="ingestion", flow_run_name="ingestion-{preset}")
def ingestion(preset: str = "demo", settings: dict[str, Any] | None = None) -> dict[str, Any]:
    """Fetch every source that changed; returns the run's ledger."""
    return run_flow("ingestion", ingest, preset, settings)


def ingest(config: RunConfig) -> Artifact:
    """Read every source into one documents table and the labelled tables."""
    return stages.ingestion(config.ingestion)
