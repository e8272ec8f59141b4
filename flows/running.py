"""What all flows share: resolve the configuration, open a run around the stages, hand back its ledger."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flows import presets, signals
from flows.settings import RunConfig, resolve
from tasks import budget, places, runs, stages
from tasks.environment import workspace
from tasks.errors import ConfigError
from tasks.sources.config import local_paths

Compose = Callable[[RunConfig], object]


def run_flow(
    name: str,
    compose: Compose,
    preset: str,
    settings: Mapping[str, Any] | None = None,
    until: str | None = None,
    reason: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Run the stages of one flow under one ledger entry and one parent MLflow run.

    Raises:
        UnveilError: a stage could not do its work; the run is recorded as failed.
    """
    config, preset = configuration(preset, settings, until)
    described = config.model_dump(mode="json")
    about: dict[str, Any] = {"preset": preset, "until": until, "reason": reason}
    with (
        signals.heeded(),
        runs.running(name, described, flow_run_id=_flow_run_id(), **about) as run,
        budget.applied(config.budget),
    ):
        compose(config)
    return run.as_dict()


def inspect_flow(
    name: str,
    compose: Compose,
    preset: str,
    settings: Mapping[str, Any] | None = None,
    until: str | None = None,
) -> list[runs.Inspection]:
    """Walk the same stages without running them: which are fresh, which would rebuild, and why."""
    config, preset = configuration(preset, settings, until)
    with runs.inspecting(name, config.model_dump(mode="json"), preset=preset, until=until) as run:
        compose(config)
    return run.inspections


def configuration(
    preset: str, settings: Mapping[str, Any] | None, until: str | None = None
) -> tuple[RunConfig, str]:
    """The complete configuration of a run and the name of the preset that it stands on.

    Raises:
        ConfigError: the configuration or the workspace cannot be used; nothing was started or written.
    """
    settings = dict(settings or {})
    preset = str(settings.get("extends", preset))
    if until is not None and until not in stages.NAMES:
        raise ConfigError(
            f"unknown stage {until!r}", where="until", remedy=f"one of {', '.join(stages.NAMES)}"
        )
    config = resolve(presets.named(preset), settings)
    home = workspace()
    places.usable(home)
    places.apart(home, local_paths(config.ingestion))
    return config, preset


def _flow_run_id() -> str | None:
    from prefect.context import FlowRunContext

    context = FlowRunContext.get()
    return str(context.flow_run.id) if context and context.flow_run else None
