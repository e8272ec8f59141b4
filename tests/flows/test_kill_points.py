"""Matrix row 29: kill -9 at every named point of the writing, in every kind of stage."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.flows.kill_points import POINTS, law_holds

pytestmark = pytest.mark.slow
STAGES = (
    "ingestion",
    "cleaning",
    "tokenization",
    "embeddings",
    "pretraining",
    "finetuning-sentiment",
    "evaluation",
    "reporting",
)


def test_48_of_48_kill_points_keep_the_law(root: Path, tiny_folder: Path) -> None:
    """By SIGKILL the attempt dies; nothing else is touched, nothing half is published, the next one is exact."""
    command = [sys.executable, "-m", "tests.flows.kill_points", str(tiny_folder), *STAGES]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=580, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert {(entry["stage"], entry["point"]) for entry in found} == {(s, p) for s in STAGES for p in POINTS}
    broken = [entry for entry in found if not law_holds(entry)]
    assert not broken
    assert len(found) == 48
