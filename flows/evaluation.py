"""Measure the model on text it never saw, beside the older way of modelling language, and write the report."""

from __future__ import annotations

from typing import Any

from flows.finetuning import Heads, finetune
from flows.orchestrated import flow
from flows.preparation import Prepared, prepare
from flows.presets import Preset
from flows.pretraining import pretrain
from flows.running import run_flow
from flows.settings import RunConfig
from tasks import runs, stages
from tasks.artifacts import Artifact
from tasks.evaluation.summary import headlines
from tasks.representation.former import previous


@flow(name="evaluation", flow_run_name="evaluation-{preset}")
def evaluation(preset: Preset = "demo", settings: dict[str, Any] | None = None) -> dict[str, Any]:
    """Examine the model, bringing up to date what it stands on; returns the run's ledger."""

    def compose(config: RunConfig) -> None:
        prepared = prepare(config)
        model = pretrain(config, prepared)
        examine(config, prepared, model, finetune(config, prepared, model))

    return run_flow("evaluation", compose, preset, settings)


def examine(config: RunConfig, prepared: Prepared, model: Artifact, heads: Heads) -> Artifact:
    """Evaluate the model and its fine-tuned heads, report on the whole run; returns the evaluation."""
    records = stages.evaluation(
        config.evaluation,
        ingestion=prepared.raw,
        cleaning=prepared.clean,
        tokenization=prepared.tokens,
        pretraining=model,
        **heads,
    )
    run = runs.current()
    if run is not None and not run.inspect:
        run.note("scores", headlines(records.summary()))
    former = previous(records) if records.content else None
    stages.reporting(
        config.reporting,
        ingestion=prepared.raw,
        cleaning=prepared.clean,
        tokenization=prepared.tokens,
        embeddings=prepared.vectors,
        pretraining=model,
        evaluation=records,
        **({"former": former} if former else {}),
        **heads,
    )
    return records
