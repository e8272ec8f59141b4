"""What the sweeps over the stages share."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import made_once
from tests.flows.sweeping import ROOT


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished workspace of `tests.flows.tiny_lifecycle`, which sweeps copy."""

    def make(folder: Path) -> None:
        command = [sys.executable, "-m", "tests.flows.tiny_lifecycle", str(folder)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)
        assert done.returncode == 0, done.stderr[-3000:]

    return made_once(tmp_path_factory, "tiny", make)
