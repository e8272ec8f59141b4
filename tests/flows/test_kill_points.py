"""Matrix rows 29 and 35: kill -9 at every named point of the writing, and other signals, in every kind of stage."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.flows.kill_points import HEARD, POINTS, law_holds
from tests.flows.sweeping import at_once

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


def test_48_of_48_kill_points_keep_the_law(tiny_folder: Path) -> None:
    """By SIGKILL the attempt dies; nothing else is touched, nothing half is published, the next one is exact.

    The other signals end it with the status that a shell tells of them.
    """
    halves = at_once(tiny_folder, ("kill_points", *STAGES[::2]), ("kill_points", *STAGES[1::2]))
    found = [entry for half in halves for entry in half]
    killed = {(entry["stage"], entry["point"]) for entry in found if entry["signal"] == "SIGKILL"}
    assert killed == {(stage, point) for stage in STAGES for point in POINTS} and len(killed) == 48
    assert {entry["signal"] for entry in found} == {"SIGKILL", *HEARD}
    broken = [entry for entry in found if not law_holds(entry)]
    assert not broken
