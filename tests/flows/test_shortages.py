"""Matrix rows 30 to 34: real stages short of a disk that works, of room, of permission and of memory."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.flows.shortages import ERRORS
from tests.flows.sweeping import at_once
from tests.flows.tiny_lifecycle import ENDED

pytestmark = pytest.mark.slow
STAGES = "ingestion,cleaning,tokenization,pretraining"
ROOM = re.compile(r"(?:needs (?:(?:about|more than) )?[\d,]+ bytes and )?[\d,]+ (?:bytes )?are free")


def law_holds(entry: dict[str, Any]) -> bool:
    """An error for people that names the stage, nothing at the final place, nothing else touched, an exact rerun.

    A working folder may stay only where it holds what a training can go on from.
    """
    told = entry["code"] == ENDED and entry["said"].startswith(f"{entry['stage']}: ")
    resumable = entry["stage"] == "pretraining"
    return (
        told
        and entry["left"] == "none"
        and entry["kept"]
        and entry.get("again", True)
        and (resumable or not entry["hidden"])
    )


def test_the_kth_write_fails_for_every_k_until_it_succeeds(tiny_folder: Path) -> None:
    asked = [f"writes-{error}:ingestion" for error in ERRORS]
    halves = at_once(tiny_folder, ("shortages", *asked[::2]), ("shortages", *asked[1::2]))
    found = halves[0] | halves[1]
    assert found.keys() == {f"writes-{error}" for error in ERRORS}
    for attempts in found.values():
        *failed, last = attempts
        assert [entry["k"] for entry in attempts] == list(range(1, len(attempts) + 1))
        assert len(failed) > 30, "ingestion writes more files than that"
        assert last["code"] == 0 and last["same"] and last["kept"]
        for entry in failed:
            whole = entry["left"] == "whole"  # it failed after the rename, and is there
            assert law_holds(entry | ({"left": "none"} if whole else {})), entry
        assert sum(entry["left"] == "whole" for entry in failed) <= 2
        assert last["again"]


def test_files_that_may_not_grow_and_memory_that_is_not_there(tiny_folder: Path) -> None:
    limited, memory = f"limited:{STAGES}", "memory:tokenization,embeddings"
    halves = at_once(tiny_folder, ("shortages", limited), ("shortages", memory))
    found = halves[0] | halves[1]
    for entry in found["limited"]:
        assert law_holds(entry), entry
        assert "File too large" in entry["said"] and ROOM.search(entry["said"]), entry
    # Rust and OpenMP end the process themselves, sooner or later by what else is in memory; then it is as after a kill.
    told = [entry for entry in found["memory"] if entry["code"] == ENDED]
    for entry in told:
        assert law_holds(entry), entry
        assert "ran out of memory" in entry["said"] and "try" in entry["said"], entry
    for entry in found["memory"]:
        assert (
            entry["code"] != 0 and entry["left"] == "none" and entry["kept"] and entry.get("again", True)
        ), entry
    assert told


def may_mount() -> bool:
    command = ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not may_mount(), reason="needs a mount namespace (Linux, root)")
def test_a_disk_that_is_really_full(tiny_folder: Path) -> None:
    stages = STAGES.split(",")
    asked = [("shortages", f"full:{','.join(half)}") for half in (stages[::2], stages[1::2])]
    found = [
        entry for half in at_once(tiny_folder, *asked, prefix=("unshare", "-m")) for entry in half["full"]
    ]
    assert len(found) == 16
    for entry in found:
        assert law_holds(entry), entry
        assert ROOM.search(entry["said"]), entry
    assert sum("needs" in entry["said"] for entry in found) >= 8


@pytest.mark.skipif(not may_mount(), reason="needs a mount namespace (Linux, root)")
def test_where_temporary_files_would_go_does_not_matter(tiny_folder: Path) -> None:
    """Matrix row 32: $TMPDIR full, missing, on another device."""
    asked = ("shortages", "scratch:finetuning-sentiment")
    found = at_once(tiny_folder, asked, prefix=("unshare", "-m"))[0]["scratch"]
    assert [entry["tmpdir"] for entry in found] == ["full", "missing", "elsewhere"]
    for entry in found:
        assert entry["code"] == 0 and entry["same"] and entry["strays"] == "", entry
        assert entry["left"] == (["filler"] if entry["tmpdir"] == "full" else []), entry


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
def test_where_nobody_may_write_nothing_is_said_to_be_saved(tiny_folder: Path) -> None:
    asked = ("shortages", "unwritable:ingestion,tokenization,pretraining")
    for entry in at_once(tiny_folder, asked)[0]["unwritable"]:
        assert law_holds(entry), entry
        assert "Permission denied" in entry["said"] and "give write permission" in entry["said"], entry
