"""Matrix rows 29 and 35: kill -9 at every named point of the writing, and other signals, in every kind of stage."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.flows.kill_points import HEARD, POINTS, law_holds

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
    """By SIGKILL the attempt dies; nothing else is touched, nothing half is published, the next one is exact.

    The other signals end it with the status that a shell tells of them.
    """
    command = [sys.executable, "-m", "tests.flows.kill_points", str(tiny_folder), *STAGES]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=580, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    killed = {(entry["stage"], entry["point"]) for entry in found if entry["signal"] == "SIGKILL"}
    assert killed == {(stage, point) for stage in STAGES for point in POINTS} and len(killed) == 48
    assert {entry["signal"] for entry in found} == {"SIGKILL", *HEARD}
    broken = [entry for entry in found if not law_holds(entry)]
    assert not broken
