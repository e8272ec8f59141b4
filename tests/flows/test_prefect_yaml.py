"""`prefect.yaml` against the code: entrypoints import, parameters bind, names are unique."""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from prefect import Flow

from flows import presets

ROOT = Path(__file__).parents[2]
DOCUMENT = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))


def _flow(entrypoint: str) -> Flow[Any, Any]:
    module, _, name = entrypoint.rpartition(".")
    found = getattr(import_module(module), name)
    assert isinstance(found, Flow)
    return found


@pytest.mark.parametrize("deployment", DOCUMENT["deployments"], ids=lambda d: d["entrypoint"])
def test_entrypoint_imports_and_parameters_bind(deployment: dict[str, Any]) -> None:
    flow = _flow(deployment["entrypoint"])
    bound = inspect.signature(flow.fn).bind_partial(**deployment["parameters"])
    assert bound.arguments["preset"] in presets.NAMES
    flow.validate_parameters(deployment["parameters"])


def test_every_flow_has_a_deployment_of_its_own() -> None:
    deployed = [entry["entrypoint"] for entry in DOCUMENT["deployments"]]
    assert sorted(deployed) == sorted(
        f"flows.{name}.{name}"
        for name in (
            "lifecycle",
            "ingestion",
            "preparation",
            "pretraining",
            "finetuning",
            "evaluation",
            "promotion",
            "retraining",
        )
    )


def test_training_runs_one_at_a_time() -> None:
    training = {f"flows.{name}.{name}" for name in ("lifecycle", "pretraining", "finetuning", "retraining")}
    limits = {d["entrypoint"]: d.get("concurrency_limit", {}).get("limit") for d in DOCUMENT["deployments"]}
    assert {limits[entrypoint] for entrypoint in training} == {1}


def test_schedules_are_known_by_unique_slugs_and_their_times_are_valid() -> None:
    from prefect.client.schemas.schedules import CronSchedule

    schedules = [entry for deployment in DOCUMENT["deployments"] for entry in deployment.get("schedules", ())]
    assert {entry["slug"] for entry in schedules} == {"nightly", "weekly", "monthly"}
    for entry in schedules:
        assert CronSchedule(cron=entry["cron"], timezone=entry["timezone"])


def test_the_trigger_waits_for_the_event_that_ingestion_emits() -> None:
    from prefect.events import DeploymentEventTrigger

    from flows.ingestion import CORPUS_UPDATED

    (retraining,) = [d for d in DOCUMENT["deployments"] if d["entrypoint"].endswith(".retraining")]
    (trigger,) = [DeploymentEventTrigger.model_validate(entry) for entry in retraining["triggers"]]
    assert trigger.expect == {CORPUS_UPDATED}
    assert trigger.parameters is not None
    accepted = inspect.signature(_flow(retraining["entrypoint"]).fn).parameters
    assert trigger.parameters.keys() <= accepted.keys()


def test_the_event_arrives_as_the_parameters_of_retraining() -> None:
    import json

    from jinja2.sandbox import SandboxedEnvironment

    from flows.retraining import reason

    class Event:
        id, event = "some-id", "unveil.corpus.updated"
        payload: ClassVar = {
            "preset": "smoke",
            "settings": {"cleaning": {"max_bad_ratio": 0.5}},
            "summary": 'a "quoted" summary </script>',
        }

    (retraining,) = [d for d in DOCUMENT["deployments"] if d["entrypoint"].endswith(".retraining")]
    parameters = retraining["triggers"][0]["parameters"]

    def rendered(template: str) -> str:
        return SandboxedEnvironment().from_string(template).render(event=Event())

    assert rendered(parameters["preset"]["template"]) == "smoke"
    assert json.loads(rendered(parameters["settings"]["value"]["template"])) == Event.payload["settings"]
    event = json.loads(rendered(parameters["event"]["value"]["template"]))
    assert reason("", event) == {
        "event": "unveil.corpus.updated some-id",
        "why": Event.payload["summary"],
    }
