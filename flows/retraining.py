"""Go on from the champion when the corpus has moved or a person says so, and let the result compete with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flows.evaluation import examine
from flows.finetuning import finetune
from flows.orchestrated import flow
from flows.preparation import Prepared, encode, gather
from flows.presets import Preset
from flows.promotion import compete, origin
from flows.running import run_flow
from flows.settings import RunConfig
from tasks import stages
from tasks.artifacts import Artifact
from tasks.errors import ConfigError


@flow(name="retraining", flow_run_name="retraining-{preset}")
def retraining(
    preset: Preset = "demo",
    settings: dict[str, Any] | None = None,
    why: str = "",
    event: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Prepare what changed, continue training from the champion with replay, fine-tune, evaluate, promote or keep.

    Args:
        preset: the configuration to start from.
        settings: what to change in it, in the form of the YAML file.
        why: who or what wants it, in words; kept with the run.
        event: the event that caused it, as the trigger in ``prefect.yaml`` hands it over together with the
            preset and settings of the ingestion that noticed the change.

    Returns:
        The run's ledger.
    """
    return run_flow("retraining", compose, preset, settings, reason=reason(why, event))


def compose(config: RunConfig) -> None:
    """The stages of a retraining; what a champion lends them is the difference to the lifecycle."""
    raw, clean = gather(config)
    former = _former(config, clean)
    prepared = encode(config, raw, clean, former["tokenization"])
    model = _continue(config, prepared, former["pretraining"])
    heads = finetune(config, prepared, model)
    records = examine(config, prepared, model, heads)
    compete(config, prepared, model, heads, records)


def reason(why: str, event: Mapping[str, Any] | None) -> dict[str, str]:
    """What started a retraining, for the ledger and MLflow."""
    told = {"why": why} if why else {}
    if event:
        told["event"] = f"{event.get('name', 'event')} {event.get('id', '')}".strip()
        told.setdefault("why", str((event.get("payload") or {}).get("summary", "an event")))
    return told or {"why": "started by hand"}


def _former(config: RunConfig, clean: Artifact) -> Mapping[str, Artifact]:
    """The model to go on from."""
    found = origin(config.promotion.registered_model, clean)
    if found is None:
        raise ConfigError(
            "there is no champion to go on from",
            where=config.promotion.registered_model,
            remedy="let `unveil run` make one, with the same preset or file",
        )
    return found


def _continue(config: RunConfig, prepared: Prepared, former: Artifact) -> Artifact:
    """Fewer steps at lower rates than from scratch: what is known shall be kept."""
    training, scale = config.pretraining.training, config.retraining.learning_rate_scale
    changed = training.model_copy(
        update={
            "steps": config.retraining.steps,
            "learning_rate": training.learning_rate * scale,
            "adam_learning_rate": training.adam_learning_rate * scale,
        }
    )
    settings = config.pretraining.model_copy(update={"training": changed})
    return stages.pretraining(settings, tokenization=prepared.tokens, champion=former)
