"""One smoke run through the real command, shared by the tests that look at what it left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tasks.runs import LEDGER, read_ledger

ROOT = Path(__file__).parents[2]
Unveil = Callable[..., subprocess.CompletedProcess[str]]


@dataclass(frozen=True)
class Workspace:
    """A workspace and the `unveil` command that works in it, in a process of its own."""

    home: Path

    def __call__(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run `unveil` with these arguments from some folder (a temporary one, not the project's)."""
        return subprocess.run(
            [sys.executable, "-m", "flows.cli", *arguments],
            capture_output=True,
            text=True,
            timeout=600,
            cwd=cwd or self.home.parent,
            env=self.environment(),
            check=False,
        )

    def environment(self) -> dict[str, str]:
        """The environment of that process: this one's, without what Prefect and MLflow would take from it."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_", "UNVEIL_"))}
        return kept | {"UNVEIL_HOME": str(self.home), "PYTHONPATH": str(ROOT)}

    def ledger(self) -> dict:
        """The newest run's ledger."""
        return read_ledger(self.home / "runs" / "latest" / LEDGER)


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace in which `unveil run --preset smoke` has succeeded. Read only: tests that change it copy it."""
    workspace = Workspace(tmp_path_factory.mktemp("smoke") / "workspace")
    done = workspace("run", "--preset", "smoke")
    assert done.returncode == 0, done.stderr
    (workspace.home.parent / "stdout.txt").write_text(done.stdout, encoding="utf-8")
    return workspace
