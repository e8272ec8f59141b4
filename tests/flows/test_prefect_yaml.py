"""`prefect.yaml` against the code: entrypoints import, parameters bind, names are unique."""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path
from typing import Any

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
        for name in ("lifecycle", "ingestion", "preparation", "pretraining", "evaluation")
    )


def test_training_runs_one_at_a_time() -> None:
    training = {"flows.lifecycle.lifecycle", "flows.pretraining.pretraining"}
    limits = {d["entrypoint"]: d.get("concurrency_limit", {}).get("limit") for d in DOCUMENT["deployments"]}
    assert {limits[entrypoint] for entrypoint in training} == {1}
