"""Train the language model on the prepared tokens."""

from __future__ import annotations

from typing import Any

from flows.orchestrated import flow
from flows.preparation import Prepared, prepare
from flows.presets import Preset
from flows.running import run_flow
from flows.settings import RunConfig
from tasks import stages
from tasks.artifacts import Artifact


@flow(name="pretraining", flow_run_name="pretraining-{preset}")
def pretraining(preset: Preset = "demo", settings: dict[str, Any] | None = None) -> dict[str, Any]:
    """Prepare what changed and train; an interrupted training goes on where it was. Returns the run's ledger."""
    return run_flow("pretraining", lambda config: pretrain(config, prepare(config)), preset, settings)


def pretrain(config: RunConfig, prepared: Prepared) -> Artifact:
    """Train from scratch on the token shards; the result is a Hugging Face folder."""
    return stages.pretraining(config.pretraining, tokenization=prepared.tokens)
