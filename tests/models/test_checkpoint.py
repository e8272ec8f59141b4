"""A checkpoint is whole or absent, believed only when its hashes hold, and one valid one always remains."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from models import checkpoint_io as module
from models.checkpoint import (
    CheckpointError,
    IdentityError,
    checkpoint_path,
    latest_valid,
    load_weights,
    refuse_other_identity,
    remove_leftovers,
    verify,
)
from models.checkpoint_files import describe, write_manifest
from models.checkpoint_io import VerifiedCheckpointIO

IDENTITY = {"model.hidden_size": "32", "data": "abc"}
Usage = namedtuple("Usage", "total used free")


def save(folder: Path, step: int, weight: float = 1.0) -> Path:
    path = checkpoint_path(folder, step)
    checkpoint = {
        "global_step": step,
        "state_dict": {"network.w": torch.full((4, 4), weight), "network.b": torch.ones(4)},
        "optimizer_states": [{"state": {0: {"momentum": torch.ones(4, 4)}}}],
    }
    VerifiedCheckpointIO(IDENTITY, "network.").save_checkpoint(checkpoint, path)
    return path


def flip(path: Path, at: int = -3) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    path = save(tmp_path, 10, 2.5)
    assert latest_valid(tmp_path) == path
    assert torch.equal(load_weights(path)["w"], torch.full((4, 4), 2.5))
    loaded = VerifiedCheckpointIO(IDENTITY, "network.").load_checkpoint(path)
    assert loaded["global_step"] == 10
    assert torch.equal(loaded["state_dict"]["network.w"], torch.full((4, 4), 2.5))
    assert torch.equal(loaded["optimizer_states"][0]["state"][0]["momentum"], torch.ones(4, 4))


def test_nothing_is_left_beside_the_checkpoints_and_two_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3, 10):
        save(tmp_path, step)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["LATEST", "step-000000003", "step-000000010"]
    assert (tmp_path / "LATEST").read_text() == "step-000000010\n"
    assert sorted(path.name for path in checkpoint_path(tmp_path, 10).iterdir()) == [
        "manifest.json", "model.safetensors", "state.pt",
    ]  # fmt: skip


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def _append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b" ")


def _replace(path: Path, old: str, new: str) -> None:
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


DAMAGES: dict[str, Callable[[Path], None]] = {
    "weights flipped": lambda folder: flip(folder / "model.safetensors"),
    "weights truncated": lambda folder: truncate(folder / "model.safetensors"),
    "weights empty": lambda folder: (folder / "model.safetensors").write_bytes(b"") and None,
    "weights missing": lambda folder: (folder / "model.safetensors").unlink(),
    "state flipped": lambda folder: flip(folder / "state.pt", 100),
    "state missing": lambda folder: (folder / "state.pt").unlink(),
    "manifest missing": lambda folder: (folder / "manifest.json").unlink(),
    "manifest truncated": lambda folder: truncate(folder / "manifest.json"),
    "manifest with a space more": lambda folder: _append(folder / "manifest.json"),
    "manifest of another world": lambda folder: _replace(
        folder / "manifest.json", '"world_size": 1', '"world_size": 2'
    ),
    "manifest of another shape": lambda folder: (folder / "manifest.json").write_text("[1]") and None,
    "manifest of another step": lambda folder: sign_again(folder, step=7),
    "manifest leads outside": lambda folder: _list_outside(folder),
}


def sign_again(folder: Path, **changes: Any) -> None:
    """Write the manifest that an attacker would: right in every digest."""
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["digest"]
    manifest["files"] = {name: describe(folder / name) for name in ("model.safetensors", "state.pt")}
    write_manifest(folder, {**manifest, **changes})


def _list_outside(folder: Path) -> None:
    described = describe(folder / "state.pt")
    sign_again(folder, files=dict.fromkeys(("model.safetensors", "state.pt", "../../x"), described))


@pytest.mark.parametrize("damage", DAMAGES, ids=str)
def test_a_damaged_checkpoint_is_passed_over_by_name(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = save(tmp_path, 1), save(tmp_path, 2)
    DAMAGES[damage](bad)
    assert latest_valid(tmp_path) == good
    assert "step-000000002" in caplog.text
    with pytest.raises(CheckpointError, match="step-000000002"):
        load_weights(bad)


def test_every_flipped_bit_of_the_weights_is_noticed(tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    file = path / "model.safetensors"
    good = file.read_bytes()
    for at in range(len(good)):
        flip(file, at)
        with pytest.raises(CheckpointError):
            verify(path)
        file.write_bytes(good)
    verify(path)


def test_without_any_valid_checkpoint_there_is_none(tmp_path: Path) -> None:
    assert latest_valid(tmp_path / "absent") is None
    flip(save(tmp_path, 1) / "state.pt")
    assert latest_valid(tmp_path) is None


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path, value: float) -> None:
    good = save(tmp_path, 1)
    with pytest.raises(CheckpointError, match=r"the weight w is not finite"):
        save(tmp_path, 2, value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["LATEST", good.name]
    verify(good)


def test_a_full_disk_is_noticed_before_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = save(tmp_path, 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(100, 90, 10))
    with pytest.raises(CheckpointError, match=r"needs \d+ bytes and 10 are free"):
        save(tmp_path, 2)
    assert latest_valid(tmp_path) == good


def test_whichever_file_operation_fails_the_last_checkpoint_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fail the k-th fsync, rename or write, for k = 1, 2, ... until a save succeeds (as SQLite tests
    itself)."""
    for step in (1, 2):
        save(tmp_path, step)
    failures = 0
    while True:
        left = failures

        def fail_in_turn(real: Callable[..., Any]) -> Callable[..., Any]:
            def operation(*args: Any, **options: Any) -> Any:
                nonlocal left
                if left == 0:
                    left = -1
                    raise OSError(28, "No space left on device")
                left -= left > 0
                return real(*args, **options)

            return operation

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fail_in_turn(os.fsync))
            patch.setattr(Path, "rename", fail_in_turn(Path.rename))
            patch.setattr(Path, "replace", fail_in_turn(Path.replace))
            patch.setattr(Path, "write_text", fail_in_turn(Path.write_text))
            patch.setattr(module, "save_file", fail_in_turn(module.save_file))
            patch.setattr(torch, "save", fail_in_turn(torch.save))
            try:
                save(tmp_path, 3)
            except OSError:
                failures += 1
                newest = latest_valid(tmp_path)
                assert newest is not None and newest.name in ("step-000000002", "step-000000003")
                assert not list(tmp_path.glob(".tmp-*"))
                shutil.rmtree(checkpoint_path(tmp_path, 3), ignore_errors=True)
                continue
        break
    # two writers, the manifest, five syncs, publishing; LATEST with its two syncs; letting the oldest go
    assert failures == 14
    assert latest_valid(tmp_path) == checkpoint_path(tmp_path, 3)


def test_another_identity_is_refused_with_both_values(tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    refuse_other_identity(path, IDENTITY)
    with pytest.raises(IdentityError, match=r"data was abc, is xyz.*tokenizer was None, is 7"):
        refuse_other_identity(path, {**IDENTITY, "data": "xyz", "tokenizer": "7"})


def test_a_state_that_would_run_code_is_refused_even_with_right_hashes(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.system, (f"touch {tmp_path}/canary",))

    path = save(tmp_path, 1)
    (path / "state.pt").write_bytes(pickle.dumps({"global_step": Bomb()}))
    sign_again(path)
    with pytest.raises(CheckpointError, match=r"state\.pt: cannot be read"):
        VerifiedCheckpointIO(IDENTITY, "network.").load_checkpoint(path, weights_only=False)
    assert not (tmp_path / "canary").exists()


def test_leftovers_of_killed_writers_go_and_checkpoints_stay(tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    (tmp_path / ".tmp-step-000000002-0123").mkdir()
    (tmp_path / ".tmp-step-000000002-0123" / "model.safetensors").write_bytes(b"half")
    (tmp_path / ".tmp-LATEST-0123").write_text("step-0")
    remove_leftovers(tmp_path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["LATEST", path.name]


def test_a_removed_checkpoint_is_gone(tmp_path: Path) -> None:
    VerifiedCheckpointIO(IDENTITY, "network.").remove_checkpoint(save(tmp_path, 1))
    assert [path.name for path in tmp_path.iterdir()] == ["LATEST"]
