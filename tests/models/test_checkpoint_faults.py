"""A disk that refuses, fills up or loses power, and a killed process: Lightning's writer beside ours."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections import namedtuple
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric.plugins import TorchCheckpointIO

from models import checkpoint_files, checkpoint_io
from models.checkpoint import CheckpointError, checkpoint_path, latest_valid, verify
from models.checkpoint_io import VerifiedCheckpointIO
from tests.models.processes import in_child, killed_at, watched

NOBODY = 65534
CLONE_NEWNS = 0x00020000
Usage = namedtuple("Usage", "total used free")


def contents(step: int, numbers: int = 16, **more: Any) -> dict[str, Any]:
    return {
        "global_step": step,
        "state_dict": {"network.w": torch.full((numbers,), float(step))},
        "optimizer_states": [{"state": {0: {"momentum": torch.ones(4)}}}],
        **more,
    }


def save(folder: Path, step: int, numbers: int = 16, **more: Any) -> Path:
    path = checkpoint_path(folder, step)
    VerifiedCheckpointIO({}, "network.").save_checkpoint(contents(step, numbers, **more), path)
    return path


def lightning_save(path: Path, step: int, numbers: int = 16) -> None:
    TorchCheckpointIO().save_checkpoint(contents(step, numbers), path)


def lightning_can_load(path: Path) -> bool:
    try:
        torch.load(path, weights_only=True)
    except Exception:
        return False
    return True


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A $TMPDIR on another file system."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == Path(tempfile.gettempdir()).stat().st_dev:
        pytest.skip("no second file system at /dev/shm")
    folder = Path(tempfile.mkdtemp(dir=memory))
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_where_it_may_not_write_lightning_says_saved_and_ours_refuses() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        save(folder, 1)

        def become_nobody() -> None:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)

        def lightning() -> None:
            become_nobody()
            lightning_save(folder / "last.ckpt", 2)

        def ours() -> None:
            become_nobody()
            try:
                save(folder, 2)
            except PermissionError:
                raise SystemExit(13) from None

        assert in_child(lightning) == 0
        assert not (folder / "last.ckpt").exists()
        assert in_child(ours) == 13
        assert latest_valid(folder) == checkpoint_path(folder, 1)


def test_killed_while_it_commits_lightning_loses_the_last_file_and_ours_nothing(
    tmp_path: Path, elsewhere: Path
) -> None:
    lightning_save(tmp_path / "last.ckpt", 1, 1 << 18)
    assert lightning_can_load(tmp_path / "last.ckpt")

    def lightning() -> None:
        real = os.sendfile

        def torn(target: int, source: int, offset: int, _count: int) -> int:
            real(target, source, offset, 4096)
            os.kill(os.getpid(), signal.SIGKILL)
            return 0

        os.sendfile = torn
        lightning_save(tmp_path / "last.ckpt", 2, 1 << 18)

    assert in_child(lightning) == -signal.SIGKILL
    assert not lightning_can_load(tmp_path / "last.ckpt")
    assert list(elsewhere.iterdir())  # and an orphan there

    for path in elsewhere.iterdir():
        path.unlink()
    save(tmp_path, 1)
    kills = 0
    while in_child(partial(killed_while_saving, tmp_path, kills + 1)) == -signal.SIGKILL:
        kills += 1
        newest = latest_valid(tmp_path)
        assert newest is not None and newest.name in ("step-000000001", "step-000000002")
        assert not list(elsewhere.iterdir())
        checkpoint_files.remove_leftovers(tmp_path)
        shutil.rmtree(checkpoint_path(tmp_path, 2), ignore_errors=True)
    # two files, the manifest, five syncs, publishing; LATEST written, synced, replaced, synced
    assert kills == 13
    assert latest_valid(tmp_path) == checkpoint_path(tmp_path, 2)
    assert not list(tmp_path.glob(".tmp-*"))


def killed_while_saving(folder: Path, step: int) -> None:
    """Save, and be killed before the given file operation."""
    counter = [0]
    for place, name in (
        (os, "fsync"), (Path, "rename"), (Path, "replace"), (Path, "write_text"),
        (checkpoint_io, "save_file"), (torch, "save"),
    ):  # fmt: skip
        setattr(place, name, killed_at(step, getattr(place, name), counter))
    save(folder, 2)


def test_on_a_disk_that_is_full_for_real_the_last_checkpoint_stays(tmp_path: Path, elsewhere: Path) -> None:
    """1.2 MB fit into 3 MiB beside what fills them up; 2 MB do not."""
    small, large, disk = 300_000, 500_000, tmp_path / "disk"
    disk.mkdir()

    def mounted() -> None:
        if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS):
            raise SystemExit(77)
        make = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)]
        for command in (["mount", "--make-rprivate", "/"], make):
            if subprocess.run(command, capture_output=True, check=False).returncode:
                raise SystemExit(77)

    def lightning() -> None:
        mounted()
        lightning_save(disk / "last.ckpt", 1, small)
        (disk / "other").write_bytes(bytes(1_500_000))
        with pytest.raises(OSError, match="No space left"):
            lightning_save(disk / "last.ckpt", 2, large)
        assert not lightning_can_load(disk / "last.ckpt")

    def ours() -> None:
        mounted()
        good = save(disk, 1, small)
        (disk / "other").write_bytes(bytes(1_500_000))
        with pytest.raises(CheckpointError, match=r"needs 2200\d\d\d bytes and \d{6} are free; make room"):
            save(disk, 2, large)
        shutil.disk_usage = lambda _: Usage(1 << 40, 0, 1 << 40)  # others may fill the disk after we looked
        with pytest.raises((CheckpointError, OSError), match=r"cannot be written|No space left"):
            save(disk, 2, large)
        assert latest_valid(disk) == good
        assert sorted(path.name for path in disk.iterdir()) == ["LATEST", "other", good.name]

    status = in_child(lightning)
    if status == 77:
        pytest.skip("a private mount is not permitted here")
    assert status == 0
    assert in_child(ours) == 0


def test_two_hundred_flipped_bits_are_noticed(tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    generator = np.random.default_rng(11)
    files = sorted(path.iterdir())
    noticed = 0
    for number in range(200):
        file = files[number % len(files)]
        good = file.read_bytes()
        bad = bytearray(good)
        bad[int(generator.integers(len(good)))] ^= 1 << int(generator.integers(8))
        file.write_bytes(bad)
        try:
            verify(path)
        except CheckpointError as error:
            noticed += str(path) in str(error)
        file.write_bytes(good)
    assert noticed == 200
    verify(path)


def test_the_watcher_sees_a_moment_without_a_checkpoint(tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    with watched(tmp_path) as watch:
        time.sleep(0.1)
        path.rename(tmp_path / "away")  # what deleting before writing would do
        time.sleep(0.1)
        (tmp_path / "away").rename(path)
        time.sleep(0.05)
    assert watch.without >= 2


def test_whatever_fails_there_is_a_valid_checkpoint_at_every_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fail one file operation after another, for as many steps, until each has failed several times."""
    save(tmp_path, 1)
    with watched(tmp_path) as watch:
        for step in range(2, 60):
            with monkeypatch.context() as patch:
                counter = [0]
                for place, name in (
                    (os, "fsync"), (Path, "rename"), (Path, "replace"), (shutil, "rmtree"), (torch, "save"),
                ):  # fmt: skip
                    patch.setattr(place, name, failing_at(step % 14 + 1, getattr(place, name), counter))
                try:
                    save(tmp_path, step)
                except OSError:
                    continue
    assert (watch.looks > 20, watch.without) == (True, 0)
    save(tmp_path, 60)  # what failed to be deleted goes with the next one
    checkpoint_files.remove_leftovers(tmp_path)
    assert sorted(path.name[-2:] for path in tmp_path.iterdir()) == ["55", "60", "ST"]


def failing_at(step: int, real: Callable[..., Any], counter: list[int]) -> Callable[..., Any]:
    def operation(*args: Any, **options: Any) -> Any:
        counter[0] += 1
        if counter[0] == step and not options.get("ignore_errors"):
            raise OSError(5, "Input/output error")
        return real(*args, **options)

    return operation


def test_the_best_by_validation_is_kept_beside_the_two_newest(tmp_path: Path) -> None:
    for step, loss in ((1, 3.0), (2, 1.0), (3, None), (4, 2.0), (5, 1.0), (6, 4.0), (7, None)):
        save(tmp_path, step, validation_loss=loss)
    assert [path.name[-1] for path in checkpoint_files.newest_first(tmp_path)] == ["7", "6", "5"]


def test_a_damaged_one_does_not_count_as_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save(tmp_path, step)
    (checkpoint_path(tmp_path, 3) / "state.pt").write_bytes(b"")
    save(tmp_path, 4)
    assert [path.name[-1] for path in checkpoint_files.newest_first(tmp_path)] == ["4", "3", "2"]
    (checkpoint_path(tmp_path, 4) / "state.pt").write_bytes(b"")
    assert latest_valid(tmp_path) == checkpoint_path(tmp_path, 2)


def test_a_step_that_is_saved_already_is_never_away(tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    before = path.stat().st_ino
    save(tmp_path, 1)
    assert path.stat().st_ino == before
    (path / "state.pt").write_bytes(b"")
    save(tmp_path, 1)  # a damaged one is replaced
    verify(path)


def test_a_vanished_checkpoint_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for step in (1, 2):
        save(tmp_path, step)
    shutil.rmtree(checkpoint_path(tmp_path, 2))
    assert latest_valid(tmp_path) == checkpoint_path(tmp_path, 1)
    assert "step-000000002, is not there any more" in caplog.text
    (tmp_path / "LATEST").write_text("../../etc")  # only ever a hint
    assert latest_valid(tmp_path) == checkpoint_path(tmp_path, 1)
    (checkpoint_path(tmp_path, 1) / "manifest.json").unlink()
    assert latest_valid(tmp_path) is None
    assert "beginning anew" in caplog.text


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_an_optimiser_that_is_not_finite_is_neither_saved_nor_used(tmp_path: Path, value: float) -> None:
    good = save(tmp_path, 1)
    states = [{"state": {0: {"momentum": torch.tensor([1.0, value])}}}]
    with pytest.raises(CheckpointError, match=r"optimiser's 0\.state\.0\.momentum is not finite"):
        save(tmp_path, 2, optimizer_states=states)
    assert checkpoint_files.newest_first(tmp_path) == [good]


def test_in_the_background_what_is_written_is_what_was_there_at_the_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = VerifiedCheckpointIO({}, "network.", background=True)
    real, begun, path = checkpoint_io.save_file, [], checkpoint_path(tmp_path, 1)

    def slow(*args: Any, **options: Any) -> None:
        begun.append(True)
        time.sleep(0.2)
        real(*args, **options)

    monkeypatch.setattr(checkpoint_io, "save_file", slow)
    given = contents(1)
    plugin.save_checkpoint(given, path)
    given["state_dict"]["network.w"].fill_(9.0)
    given["optimizer_states"][0]["state"][0]["momentum"].fill_(9.0)
    assert not path.exists()
    plugin.wait()
    loaded = plugin.load_checkpoint(path)
    assert torch.equal(loaded["state_dict"]["network.w"], torch.ones(16))
    assert torch.equal(loaded["optimizer_states"][0]["state"][0]["momentum"], torch.ones(4))
    monkeypatch.undo()
    verify(path)


def test_an_error_in_the_background_is_raised_once_at_the_next_chance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = VerifiedCheckpointIO({}, "network.", background=True)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(100, 90, 10))
    plugin.save_checkpoint(contents(1), checkpoint_path(tmp_path, 1))
    with pytest.raises(CheckpointError, match="10 are free"):
        plugin.wait()
    plugin.raise_failure()
    plugin.save_checkpoint(contents(2), checkpoint_path(tmp_path, 2))
    with pytest.raises(CheckpointError, match="10 are free"):
        plugin.save_checkpoint(contents(3), checkpoint_path(tmp_path, 3))
