"""The benchmark that kills at random: a few kills of a tiny lifecycle, and what it would say of a mismatch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.random_kills import Tally, report
from tests.flows.tiny_lifecycle import SETTINGS


@pytest.mark.slow
def test_three_random_kills_of_a_tiny_lifecycle_change_nothing(root: Path) -> None:
    ingestion = SETTINGS["ingestion"] | {"sources": SETTINGS["ingestion"]["sources"][:1]}
    settings = json.dumps(SETTINGS | {"ingestion": ingestion})
    command = [sys.executable, "-m", "benchmarks.random_kills", "--kills", "3", "--settings", settings]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=580, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert "| kills | 3 | 0 | 0.0 to 70.8 % |" in done.stdout
    assert "trainings had a valid one, 0 were seen without any after that" in done.stdout


def test_a_mismatch_is_counted_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    seen = {"looks": 10, "milliseconds": 10.0, "trainings": 4, "without": ["home-1/pretraining"]}
    report(Tally(kills=100, completions=8, mismatches=["cleaning"]), seen)
    said = capsys.readouterr().out
    assert "| completed lifecycles | 8 | 1 | 0.3 to 52.7 % |" in said
    assert "| kills | 100 | 1 | 0.0 to 5.4 % |" in said
    assert "\ncleaning\n" in said and "\nhome-1/pretraining\n" in said
