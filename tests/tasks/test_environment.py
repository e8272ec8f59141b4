"""The process environment: what protects the user is law, the rest is a default that the user may change."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks import environment


def prepared(root: Path, cwd: Path, **variables: str) -> dict[str, str]:
    """The environment that a fresh process has after importing the package."""
    code = "import os, tasks; print('\\n'.join(f'{k}={v}' for k, v in os.environ.items()))"
    variables = {"PYTHONPATH": str(root), "PATH": os.environ["PATH"], "HOME": str(cwd)} | variables
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env=variables, capture_output=True, text=True, check=True
    )
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)


def test_telemetry_is_off_and_pickle_refused_whatever_the_user_has_set(root: Path, tmp_path: Path) -> None:
    hostile = {
        "DO_NOT_TRACK": "0",
        "MLFLOW_DISABLE_TELEMETRY": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "true",
        "GX_ANALYTICS_ENABLED": "true",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "true",
    }
    found = prepared(root, tmp_path, **hostile)
    assert found["DO_NOT_TRACK"] == "true"
    assert found["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert found["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert found["GX_ANALYTICS_ENABLED"] == "false"
    assert found["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"


def test_every_store_is_inside_the_workspace_and_listeners_on_loopback(root: Path, tmp_path: Path) -> None:
    found = prepared(root, tmp_path)
    home = str(tmp_path / ".unveil")
    assert found["UNVEIL_HOME"] == home
    for name in ("PREFECT_HOME", "HF_DATASETS_CACHE", "HF_HUB_CACHE", "HF_XET_CACHE", "MPLCONFIGDIR"):
        assert found[name].startswith(home), name
    assert found["PREFECT_SERVER_API_HOST"] == "127.0.0.1"
    assert not (tmp_path / ".unveil").exists()


def test_what_the_user_has_set_stays(root: Path, tmp_path: Path) -> None:
    theirs = {"PREFECT_HOME": "/elsewhere/prefect", "HF_HUB_OFFLINE": "0", "UNVEIL_HOME": str(tmp_path / "x")}
    found = prepared(root, tmp_path, **theirs)
    assert {name: found[name] for name in theirs} == theirs


def test_the_workspace_is_absolute_and_an_empty_name_means_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UNVEIL_HOME", "relative/place")
    assert environment.workspace() == tmp_path.resolve() / "relative" / "place"
    monkeypatch.setenv("UNVEIL_HOME", "")
    assert environment.workspace() == tmp_path.resolve() / ".unveil"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("UNVEIL_HOME", "~/work")
    assert environment.workspace() == tmp_path.resolve() / "work"
