"""The store: an artefact is whole, verified and named by its key, or it does not exist. Whatever happens."""

from __future__ import annotations

import ctypes
import json
import os
import random
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from tasks import artifacts, manifests, tables
from tasks.artifacts import Artifact, Store, fingerprint_of, verify
from tasks.canonical import canonical_json
from tasks.errors import ArtifactError, DataError

KEY: dict[str, Any] = {"stage": "toy", "config": {"size": 3}}
FINGERPRINT = fingerprint_of(KEY)


def publish(store: Store, key: dict[str, Any] = KEY, text: str = "some text\n") -> Artifact:
    with store.locked("toy", "small", fingerprint_of(key)):
        folder = store.begin("toy", "small", fingerprint_of(key))
        (folder / "deep" / "er").mkdir(parents=True)
        (folder / "deep" / "er" / "text.txt").write_text(text)
        (folder / "numbers.bin").write_bytes(bytes(range(256)))
        (folder / "empty").touch()
        (folder / ".hidden.json").write_text("{}")
        return store.commit("toy", "small", key, {"rows": 3, "loss": 0.1, "word": "wört"})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def faults(root: Path, home: Path, *arguments: str) -> list[dict[str, Any]]:
    """What became of each attempt of a sweep."""
    command = [sys.executable, "-m", "tests.tasks.faults", arguments[0], str(home), *arguments[1:]]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_a_published_artefact_is_found_again_and_says_what_it_is_made_of(store: Store) -> None:
    made = publish(store)
    assert store.find("toy", "small", FINGERPRINT) == made
    assert made.path == store.root / "toy" / f"small-{FINGERPRINT[:16]}"
    manifest = made.manifest()
    assert set(manifest.files) == {"deep/er/text.txt", "numbers.bin", "empty", ".hidden.json"}
    assert manifest.key == KEY
    assert made.summary() == {"rows": 3, "loss": 0.1, "word": "wört"}
    assert made.file("deep/er/text.txt").read_text() == "some text\n"
    with pytest.raises(ArtifactError, match="no file 'missing'"):
        made.file("missing")


def test_equal_content_gives_equal_bytes_and_hash_and_other_content_another(tmp_path: Path) -> None:
    first, second = publish(Store(tmp_path / "a")), publish(Store(tmp_path / "b"))
    assert first.content == second.content
    assert (first.path / "manifest.json").read_bytes() == (second.path / "manifest.json").read_bytes()
    assert publish(Store(tmp_path / "c"), text="other text\n").content != first.content


def _ids(path: Path) -> None:
    np.arange(2_000, dtype=np.uint16).tofile(path)


def _table(path: Path) -> None:
    rows = [{"id": f"d{n}", "n": n} for n in range(300)]
    tables.write(path, rows, pa.schema([("id", pa.string()), ("n", pa.int64())]))


def _json(path: Path) -> None:
    path.write_bytes(canonical_json({"splits": {f"s{n}": {"tokens": n} for n in range(100)}}).encode())


def _weights(path: Path) -> None:
    save_file({"weight": np.linspace(0, 1, 1_000, dtype=np.float32)}, path)


FORMATS = {"train.bin": _ids, "t.parquet": _table, "index.json": _json, "model.safetensors": _weights}


@pytest.mark.parametrize("name", [*FORMATS, "manifest.json"])
def test_no_flipped_bit_is_silent(name: str, store: Store) -> None:
    """200 flips in a file of each format that artefacts have; each is noticed and names the file."""
    with store.locked("toy", "small", FINGERPRINT):
        folder = store.begin("toy", "small", FINGERPRINT)
        for file, write in FORMATS.items():
            write(folder / file)
        folder = store.commit("toy", "small", KEY, {"rows": 3}).path
    good, chance, silent = (folder / name).read_bytes(), random.Random(1), []
    for _ in range(200):
        position, bit = chance.randrange(len(good)), 1 << chance.randrange(8)
        (folder / name).write_bytes(good[:position] + bytes([good[position] ^ bit]) + good[position + 1 :])
        try:
            store.find("toy", "small", FINGERPRINT)
            silent.append((position, bit))
        except ArtifactError as error:
            assert name in str(error)
    assert silent == []
    (folder / name).write_bytes(good)
    assert store.find("toy", "small", FINGERPRINT) is not None


def _truncate(folder: Path) -> str:
    os.truncate(folder / "numbers.bin", 100)
    return "numbers.bin"


def _empty(folder: Path) -> str:
    os.truncate(folder / "manifest.json", 0)
    return "manifest.json"


def _missing(folder: Path) -> str:
    (folder / "deep" / "er" / "text.txt").unlink()
    return "text.txt"


def _missing_folder(folder: Path) -> str:
    shutil.rmtree(folder / "deep")
    return "text.txt"


def _surplus(folder: Path) -> str:
    (folder / "deep" / "surplus.txt").write_text("x")
    return "surplus.txt"


def _link_with_the_same_content(folder: Path) -> str:
    (folder / "numbers.bin").rename(folder.parent / "elsewhere")
    (folder / "numbers.bin").symlink_to(folder.parent / "elsewhere")
    return "numbers.bin"


def _link_to_a_folder(folder: Path) -> str:
    (folder / "link").symlink_to("/")
    return "link"


def _linked_manifest(folder: Path) -> str:
    (folder / "manifest.json").rename(folder.parent / "elsewhere")
    (folder / "manifest.json").symlink_to(folder.parent / "elsewhere")
    return "manifest.json"


def _pipe(folder: Path) -> str:
    (folder / "empty").unlink()
    os.mkfifo(folder / "empty")
    return "empty"


def _folder_for_file(folder: Path) -> str:
    (folder / "numbers.bin").unlink()
    (folder / "numbers.bin").mkdir()
    return "numbers.bin"


def _other_summary(folder: Path) -> str:
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"rows": 3', '"rows": 4'))
    return "manifest.json"


def _reformatted(folder: Path) -> str:
    path = folder / "manifest.json"
    path.write_text(path.read_text() + "\n")
    return "manifest.json"


def _manifest_of_another(folder: Path) -> str:
    other = publish(Store(folder.parents[2]), KEY | {"config": {"size": 4}})
    shutil.copy(other.path / "manifest.json", folder / "manifest.json")
    return "manifest.json"


def _moved_elsewhere(folder: Path) -> str:
    other = folder.with_name("moved")
    folder.rename(other)
    folder.symlink_to(other)
    return "manifest.json"


DAMAGES = [
    _truncate,
    _empty,
    _missing,
    _missing_folder,
    _surplus,
    _link_with_the_same_content,
    _link_to_a_folder,
    _linked_manifest,
    _pipe,
    _folder_for_file,
    _other_summary,
    _reformatted,
    _manifest_of_another,
    _moved_elsewhere,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_artefact_is_refused_by_name_and_can_be_removed_and_rebuilt(
    store: Store, damage: Any
) -> None:
    made = publish(store)
    name = damage(made.path)
    with pytest.raises(ArtifactError) as caught:
        store.find("toy", "small", FINGERPRINT)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    store.remove("toy", "small", FINGERPRINT)
    assert store.find("toy", "small", FINGERPRINT) is None
    assert publish(store).content == made.content
    assert Path("/etc").is_dir()


def test_removal_never_follows_a_link(store: Store, tmp_path: Path) -> None:
    precious = publish(Store(tmp_path / "other")).path
    link = store.folder("toy", "small", FINGERPRINT)
    link.parent.mkdir(parents=True)
    link.symlink_to(precious)
    with pytest.raises(ArtifactError):
        store.find("toy", "small", FINGERPRINT)
    store.remove("toy", "small", FINGERPRINT)
    assert not link.is_symlink()
    assert verify(precious)


@pytest.mark.parametrize("files", [[], ["data.bin"], ["data.bin", "deep/x"]])
def test_a_folder_without_manifest_does_not_exist_and_is_replaced(store: Store, files: list[str]) -> None:
    folder = store.folder("toy", "small", FINGERPRINT)
    folder.mkdir(parents=True)
    for name in files:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("left over")
    assert store.find("toy", "small", FINGERPRINT) is None
    made = publish(store)
    assert "data.bin" not in made.manifest().files
    assert verify(folder) == made


def test_a_broken_reading_of_the_disk_is_not_taken_for_damage(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too many open files say nothing about the artefact: it must not be thrown away for it."""
    publish(store)

    def no_more_files(path: Path) -> str:
        raise OSError(24, "Too many open files", str(path))

    monkeypatch.setattr(manifests, "sha256_of", no_more_files)
    with pytest.raises(OSError, match="Too many open files"):
        store.find("toy", "small", FINGERPRINT)


def test_an_unreadable_block_is_damage(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(store)

    def bad_block(path: Path) -> str:
        raise OSError(5, "Input/output error", str(path))

    monkeypatch.setattr(manifests, "sha256_of", bad_block)
    with pytest.raises(ArtifactError, match=r"hidden\.json: cannot be read \(Input/output error\)"):
        store.find("toy", "small", FINGERPRINT)


def _nothing(folder: Path) -> None:
    pass


def _link(folder: Path) -> None:
    (folder / "link").symlink_to("/etc/passwd")


def _named_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text("{}")


@pytest.mark.parametrize("write", [_nothing, _link, _named_manifest])
def test_what_cannot_be_an_artefact_is_not_published(store: Store, write: Any) -> None:
    write(store.begin("toy", "small", FINGERPRINT))
    with pytest.raises(DataError, match="toy"):
        store.commit("toy", "small", KEY, {})
    assert store.find("toy", "small", FINGERPRINT) is None


def test_begin_is_empty_but_for_checkpoints(store: Store) -> None:
    folder = store.begin("toy", "small", FINGERPRINT)
    (folder / "half").write_text("written")
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "step-1").write_text("state")
    store.abandon("toy", "small", FINGERPRINT)
    again = store.begin("toy", "small", FINGERPRINT)
    assert again == folder
    assert [path.name for path in folder.iterdir()] == ["checkpoints"]
    assert (folder / "checkpoints" / "step-1").read_text() == "state"
    (folder / "data").write_text("x")
    made = store.commit("toy", "small", KEY, {})
    assert list(made.manifest().files) == ["data"]
    assert [path.name for path in store.root.glob("toy/.*") if path.suffix != ".lock"] == []


def test_checkpoints_survive_a_commit_that_fails(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up with the last file must not cost the whole training."""
    folder = store.begin("toy", "small", FINGERPRINT)
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "state").write_text("state")
    (folder / "data").write_text("x")

    def full(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(artifacts, "write_synced", full)
    with pytest.raises(OSError, match="No space"):
        store.commit("toy", "small", KEY, {})
    store.abandon("toy", "small", FINGERPRINT)
    assert (store.begin("toy", "small", FINGERPRINT) / "checkpoints" / "state").read_text() == "state"


def test_killed_before_any_file_operation_nothing_is_lost_and_nothing_half_is_used(
    root: Path, tmp_path: Path
) -> None:
    """SIGKILL at every step: writing, manifest, rename, removal of a damaged artefact, under the lock."""
    found = faults(root, tmp_path, "kill", "resumable", "damaged")
    assert found[-1]["code"] == 0
    killed = found[:-1]
    assert len(killed) > 40
    assert {attempt["code"] for attempt in killed} == {-9}
    for attempt in found:
        assert attempt["same"], attempt  # the rerun gives the undisturbed content; it never hung on the lock
        assert attempt["resumed"], attempt  # the rerun began with the checkpoint that was on the disk
        assert attempt["earlier"], attempt
        assert attempt["left"] == attempt["published"] == [], attempt
    assert {attempt["state"] for attempt in killed} == {"none", "valid", "damaged"}
    states = [attempt["state"] for attempt in killed]
    # Damaged only until it is removed, then absent, then valid: in this order and never back.
    assert states == sorted(states, key=["damaged", "none", "valid"].index)
    assert {attempt["checkpoint"] for attempt in killed} == {"", "1", "2", "3"}


def test_every_file_operation_that_fails_is_an_error_and_leaves_no_half_artefact(
    root: Path, tmp_path: Path
) -> None:
    swallowed, unexplained, explained, other = 7, 3, 4, 5
    found = faults(root, tmp_path, "fail", "resumable", "damaged", "ENOSPC")
    assert found[-1]["code"] == 0
    failed = found[:-1]
    assert sum(attempt["code"] == explained for attempt in failed) > 40
    for attempt in found:
        assert attempt["same"], attempt
        assert attempt["earlier"], attempt
        assert attempt["resumed"], attempt
        assert attempt["left"] == attempt["published"] == [], attempt
        if attempt["code"] in (swallowed, unexplained, other):  # a folder that exists already, a last look
            assert attempt["state"] == "valid", attempt


def test_all_is_on_the_disk_before_the_rename_and_the_rename_is_too(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a power cut may lose: nothing of an artefact that has its name."""
    events: list[object] = []
    real_sync, real_rename = os.fsync, os.rename

    def fsync(descriptor: int) -> None:
        events.append(os.fstat(descriptor).st_ino)
        real_sync(descriptor)

    def rename(source: str, target: str, **folders: int) -> None:
        events.append("rename")
        real_rename(source, target, **folders)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", rename)
    folder = publish(store).path
    before, after = events[: events.index("rename")], events[events.index("rename") :]
    for path in (folder, *folder.rglob("*")):
        assert path.stat().st_ino in before, path
    assert folder.parent.stat().st_ino in after


@pytest.mark.parametrize("sweep", ["sync", "size"])
def test_a_write_that_does_not_reach_the_disk_is_an_error(root: Path, tmp_path: Path, sweep: str) -> None:
    """The k-th fsync fails, for every k; no file may grow beyond n bytes, for several n."""
    found = faults(root, tmp_path, sweep)
    assert found[-1] == {"code": 0, "state": "valid", "same": True}
    for attempt in found[:-1]:
        assert attempt["code"] == 4, attempt
        assert attempt["same"], attempt
    assert any(attempt["state"] == "none" for attempt in found)


def test_two_processes_on_one_key_compute_once(root: Path, tmp_path: Path) -> None:
    for trial in faults(root, tmp_path, "race", "14"):
        assert trial["codes"] == [0, 0]
        assert trial["computed"] == 1
        (first, computed), (second, cached) = (line.split() for line in trial["results"])
        assert first == second
        assert (computed, cached) == ("False", "True")


def test_a_waiter_takes_over_from_a_killed_holder_and_other_keys_never_wait(
    root: Path, tmp_path: Path
) -> None:
    for trial in faults(root, tmp_path, "takeover", "3"):
        assert trial["waited"]
        assert trial["code"] == 0
        assert trial["took"] < 2.5  # the worker that the holder forked lives for three seconds
        assert trial["other"] < 2.5


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), JSON, max_size=5), st.randoms())
def test_equal_keys_have_equal_fingerprints_whatever_their_order(key: dict[str, Any], chance: Any) -> None:
    names = list(key)
    chance.shuffle(names)
    assert fingerprint_of({name: key[name] for name in names}) == fingerprint_of(key)
    json.loads(canonical_json(key), parse_constant=pytest.fail)
    canonical_json(key).encode()


@given(st.dictionaries(st.text(), JSON, min_size=1, max_size=5), JSON, st.data())
def test_a_changed_value_changes_the_fingerprint(
    key: dict[str, Any], value: Any, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(key)))
    changed = key | {name: value}
    same = canonical_json(changed) == canonical_json(key)
    assert (fingerprint_of(changed) == fingerprint_of(key)) == same
    assert fingerprint_of(key | {name: [key[name]]}) != fingerprint_of(key)


def test_a_key_without_one_plain_form_is_refused() -> None:
    with pytest.raises(TypeError):
        fingerprint_of({"value": object()})
    assert canonical_json({"b": {"y", "x"}, "a": (1, Path("p"))}) == '{"a": [1, "p"], "b": ["x", "y"]}'
    assert canonical_json([float("nan"), float("inf"), -float("inf")]) == '["nan", "inf", "-inf"]'
    assert json.loads(canonical_json("\udcff")) == "\udcff"


def exchange(one: Path, other: Path) -> None:
    """Let two names change places in one instant (``renameat2`` with ``RENAME_EXCHANGE``)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(-100, os.fsencode(one), -100, os.fsencode(other), 2):
        raise OSError(ctypes.get_errno(), "renameat2")


def test_a_link_in_place_of_a_folder_of_the_store_is_refused_and_nothing_goes_through_it(
    tmp_path: Path,
) -> None:
    """Matrix row 13: a thread swaps the stage's folder for a link to somebody's files while artefacts are made."""
    victim = tmp_path / "etc"
    victim.mkdir()
    (victim / "passwd").write_text("root")
    store = Store(tmp_path / "home")
    stage, link = store.root / "toy", tmp_path / "link"
    stage.mkdir(parents=True)
    link.symlink_to(victim)
    stopped, pause = threading.Event(), random.Random(13)

    def flip() -> None:
        while not stopped.wait(pause.uniform(0, 0.01)):
            exchange(stage, link)

    swapper = threading.Thread(target=flip)
    swapper.start()
    outcomes = []
    try:
        for number in range(200):
            try:
                key = KEY | {"number": number}
                with store.locked("toy", "small", fingerprint_of(key)):
                    folder = store.begin("toy", "small", fingerprint_of(key))
                    (folder / "text.txt").write_text("some text\n")
                    store.commit("toy", "small", key, {})
                outcomes.append("published")
            except (ArtifactError, DataError, OSError) as error:
                outcomes.append(type(error).__name__)
    finally:
        stopped.set()
        swapper.join()
    if stage.is_symlink():
        exchange(stage, link)
    assert [path.name for path in victim.iterdir()] == ["passwd"]
    assert (victim / "passwd").read_text() == "root"
    assert {"published", "ArtifactError"} <= set(outcomes), outcomes
    for folder in stage.glob("small-*"):
        verify(folder)


@pytest.mark.parametrize("level", ["artifacts", "artifacts/toy"])
def test_a_link_that_was_there_before_is_refused_by_name(level: str, tmp_path: Path) -> None:
    victim = tmp_path / "etc"
    victim.mkdir()
    link = tmp_path / "home" / level
    link.parent.mkdir(parents=True)
    link.symlink_to(victim)
    with pytest.raises(ArtifactError, match="is a link or a file"):
        publish(Store(tmp_path / "home"))
    assert not list(victim.iterdir())
