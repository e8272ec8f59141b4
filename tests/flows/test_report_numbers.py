"""Every number of the report is found in MLflow: as a metric, or in a JSON or text that a run shows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow
# What is not a number: control characters written out, ids of documents, HTML's references.
_NO_NUMBER = re.compile(r"U\+[0-9A-F]{4,}|\b(?=\w*\d)(?=\w*[a-z])\w{12,}\b|&#\d+;|`[^`]*`")
_NUMBER = re.compile(r"(?<![\w.,/])[-+\u2212]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?(?![\w])")
_SCALES = (1.0, 100.0, 1e-3, 1e-6, 1e-9, 1 / 60, 1 / 3600)


def test_every_number_of_the_report_is_in_mlflow(smoke: Any) -> None:
    stages = smoke.first["stages"]
    report = (Path(stages["reporting"]["artifact"]) / "report.md").read_text(encoding="utf-8")
    values, texts = _logged(smoke.home, {entry["mlflow_run_id"] for entry in stages.values()})
    known = {form for value in values for form in _forms(value)} | texts
    missing = [
        f"{found} in: {line}"
        for line in report.splitlines()
        for found in _numbers(line)
        if found not in known and found.replace(",", "") not in known
    ]
    assert not missing, "\n".join(missing)
    assert len(known) > 1_000 and sum(1 for line in report.splitlines() for _ in _numbers(line)) > 1_000


def _numbers(line: str) -> Iterator[str]:
    for match in _NUMBER.finditer(_NO_NUMBER.sub(" ", line)):
        yield match[0].replace("\u2212", "-").lstrip("+-").rstrip(",")


def _forms(value: float) -> Iterator[str]:
    """As a person might write it."""
    for x in (value * scale for scale in _SCALES):
        for digits in range(7):
            yield f"{abs(x):.{digits}f}"
            yield f"{abs(x):,.{digits}f}"
        yield f"{abs(x):.2e}"


def _logged(home: Path, runs: set[str]) -> tuple[list[float], set[str]]:
    """Metrics of these runs with all numbers of their JSON artefacts, and the numbers that stand in texts."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    values: list[float] = []
    texts: list[str] = []
    for run_id in runs:
        run = client.get_run(run_id)
        values += run.data.metrics.values()
        texts += [*run.data.params.values(), *run.data.tags.values()]
        for artifact in client.list_artifacts(run_id):
            if artifact.path.endswith(".json"):
                path = Path(client.download_artifacts(run_id, artifact.path))
                _collect(json.loads(path.read_text(encoding="utf-8")), values, texts)
    return values, {number for text in texts for number in _numbers(text)}


def _collect(node: Any, values: list[float], texts: list[str]) -> None:
    if isinstance(node, dict):
        texts += node
        for item in node.values():
            _collect(item, values, texts)
    elif isinstance(node, list):
        for item in node:
            _collect(item, values, texts)
    elif isinstance(node, str):
        texts.append(node)
    elif isinstance(node, int | float) and not isinstance(node, bool):
        values.append(float(node))
