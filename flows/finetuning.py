"""Teach the pretrained trunk what the labelled sets hold: sentiment, question answering, translation."""

from __future__ import annotations

from typing import Any

from flows.orchestrated import flow
from flows.preparation import Prepared, prepare
from flows.presets import Preset
from flows.pretraining import pretrain
from flows.running import run_flow
from flows.settings import RunConfig
from tasks import stages
from tasks.artifacts import Artifact

Heads = dict[str, Artifact]


@flow(name="finetuning", flow_run_name="finetuning-{preset}")
def finetuning(preset: Preset = "demo", settings: dict[str, Any] | None = None) -> dict[str, Any]:
    """Bring the model up to date and fine-tune it on every labelled set; returns the run's ledger."""

    def compose(config: RunConfig) -> None:
        prepared = prepare(config)
        finetune(config, prepared, pretrain(config, prepared))

    return run_flow("finetuning", compose, preset, settings)


def finetune(config: RunConfig, prepared: Prepared, model: Artifact) -> Heads:
    """One model for each task that has labelled rows; a task without any is left out."""
    tasks = (
        (stages.finetuning_sentiment, config.finetuning.sentiment, "sentiment"),
        (stages.finetuning_question_answering, config.finetuning.question_answering, "question-answering"),
        (stages.finetuning_translation, config.finetuning.translation, "translation"),
    )
    return {
        stage.name: stage(settings, pretraining=model, cleaning=prepared.clean)
        for stage, settings, labelled in tasks
        if stages.may_have(prepared.clean, f"labelled/{labelled}.parquet")
    }
