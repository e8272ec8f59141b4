"""The whole lifecycle on one screen: real text in, a language model that can be accounted for out."""

from __future__ import annotations

from typing import Any

from flows.evaluation import examine
from flows.finetuning import finetune
from flows.orchestrated import flow
from flows.preparation import prepare
from flows.presets import Preset
from flows.pretraining import pretrain
from flows.promotion import compete
from flows.running import run_flow
from flows.settings import RunConfig


@flow(name="lifecycle", flow_run_name="lifecycle-{preset}", validate_parameters=True)
def lifecycle(
    preset: Preset = "demo", settings: dict[str, Any] | None = None, until: str | None = None
) -> dict[str, Any]:
    """Run every stage in order; what has not changed since the last run is reused.

    Args:
        preset: the configuration to start from: smoke, demo, small or base.
        settings: what to change in it, in the form of the YAML file.
        until: the last stage to run; all of them when left out.

    Returns:
        The run's ledger, as in ``runs/<run-id>/run.json``.
    """
    return run_flow("lifecycle", compose, preset, settings, until)


def compose(config: RunConfig) -> None:
    """The stages and what each takes from the ones before."""
    prepared = prepare(config)
    model = pretrain(config, prepared)
    heads = finetune(config, prepared, model)
    records = examine(config, prepared, model, heads)
    compete(config, prepared, model, heads, records)
