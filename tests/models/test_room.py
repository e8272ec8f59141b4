"""The least of what the machine and the container allow is what there is."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
import torch

from models import room


def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> Path:
    own = tmp_path / "own"
    own.write_text(line)
    monkeypatch.setattr(room, "_CGROUP", tmp_path)
    monkeypatch.setattr(room, "_OWN_CGROUP", own)
    return tmp_path


def test_the_limit_of_a_parent_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = cgroup(tmp_path, monkeypatch, "0::/jobs/mine\n")
    (root / "jobs" / "mine").mkdir(parents=True)
    (root / "jobs" / "mine" / "memory.max").write_text("max\n")
    (root / "jobs" / "mine" / "memory.current").write_text("5\n")
    (root / "jobs" / "memory.max").write_text(f"{100 << 20}\n")
    (root / "jobs" / "memory.current").write_text(f"{70 << 20}\n")
    (root / "jobs" / "memory.stat").write_text(f"anon 1\ninactive_file {20 << 20}\n")
    found = room.available(torch.device("cpu"))
    assert found == room.Room(50 << 20, "limit of the container (100 MB)")


def test_version_1_and_no_limit_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = cgroup(tmp_path, monkeypatch, "3:cpu,memory:/jobs\n")
    free = psutil.virtual_memory().available
    assert room.available(torch.device("cpu")).bytes == pytest.approx(free, rel=0.5)
    (root / "memory" / "jobs").mkdir(parents=True)
    (root / "memory" / "jobs" / "memory.limit_in_bytes").write_text("1000\n")
    (root / "memory" / "jobs" / "memory.usage_in_bytes").write_text("1500\n")
    assert room.available(torch.device("cpu")).bytes == 0
    (root / "memory" / "jobs" / "memory.limit_in_bytes").write_text(
        f"{1 << 62}\n"
    )  # how version 1 says "none"
    assert room.available(torch.device("cpu")).bytes > 1 << 20
