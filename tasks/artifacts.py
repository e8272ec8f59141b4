"""The artefact store: a stage's output is a folder that is whole, verified and named by its fingerprint, or absent.

``artifacts/<stage>/<name>-<fingerprint>/`` is written in a hidden folder beside its final place, every file is
fsynced, ``manifest.json`` (each file's size and sha256, the inputs, the configuration, the code version and the
counts) is written last, and one rename publishes it. A folder without a valid manifest does not exist. Two processes on one
key take turns through ``flock``, which the kernel releases when its holder dies.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from tasks.errors import ArtifactError, DataError

MANIFEST = "manifest.json"
# What a resumable stage may leave behind for its next attempt; removed before the artefact is published.
CHECKPOINTS = "checkpoints"
_FOLDER_DIGITS = 16
_BLOCK = 1 << 20


class Artifact(BaseModel):
    """A reference to a finished artefact: what travels between stages instead of data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    fingerprint: str
    content: str
    path: Path

    def file(self, name: str) -> Path:
        """Path of one file of the artefact.

        Raises:
            ArtifactError: the artefact has no such file.
        """
        path = self.path / name
        if not path.is_file():
            raise ArtifactError(f"has no file {name!r}", stage=self.stage, where=self.path)
        return path

    def manifest(self) -> Manifest:
        """The artefact's manifest, read anew."""
        return _read_manifest(self.path)

    def summary(self) -> dict[str, Any]:
        """What the stage told about its work when it made this artefact."""
        return self.manifest().summary


class FileRecord(BaseModel):
    """Size in bytes and sha256 of one file."""

    model_config = ConfigDict(extra="forbid")

    size: int
    sha256: str


class Manifest(BaseModel):
    """What an artefact is made of and from what. Holds nothing that differs between two equal runs."""

    model_config = ConfigDict(extra="forbid")

    stage: str
    fingerprint: str
    content: str
    key: dict[str, Any]
    files: dict[str, FileRecord]
    summary: dict[str, Any]


class Store:
    """All artefacts of a workspace."""

    def __init__(self, home: Path) -> None:
        self.root = home / "artifacts"

    def folder(self, stage: str, name: str, fingerprint: str) -> Path:
        """Where the artefact with this fingerprint is, or would be."""
        return self.root / stage / f"{name}-{fingerprint[:_FOLDER_DIGITS]}"

    def find(self, stage: str, name: str, fingerprint: str) -> Artifact | None:
        """The artefact with this fingerprint, every byte of it verified, or None when there is none.

        Raises:
            ArtifactError: it is there, but a file is missing, truncated, altered or surplus; the message names it.
        """
        folder = self.folder(stage, name, fingerprint)
        if not (folder / MANIFEST).exists():
            return None
        return verify(folder, fingerprint)

    @contextmanager
    def locked(self, stage: str, name: str, fingerprint: str) -> Iterator[None]:
        """Hold the lock of one key; waits while another process computes it, however long that takes."""
        path = self.root / stage / f".{name}-{fingerprint[:_FOLDER_DIGITS]}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def begin(self, stage: str, name: str, fingerprint: str) -> Path:
        """An empty folder to write in, but for the checkpoints of an attempt that was cut off. Needs the lock."""
        folder = self._partial(stage, name, fingerprint)
        folder.mkdir(parents=True, exist_ok=True)
        for entry in folder.iterdir():
            if entry.name != CHECKPOINTS:
                _remove(entry)
        return folder

    def abandon(self, stage: str, name: str, fingerprint: str) -> None:
        """Remove what a failed attempt wrote, keeping only its checkpoints. Needs the lock."""
        folder = self._partial(stage, name, fingerprint)
        if not folder.exists():
            return
        if not (folder / CHECKPOINTS).exists():
            shutil.rmtree(folder)
            return
        self.begin(stage, name, fingerprint)

    def commit(self, stage: str, name: str, key: Mapping[str, Any], summary: Mapping[str, Any]) -> Artifact:
        """Publish what was written since ``begin``: checkpoints out, files synced, manifest last, one rename."""
        fingerprint = fingerprint_of(key)
        partial = self._partial(stage, name, fingerprint)
        _remove(partial / CHECKPOINTS)
        files = {_relative(path, partial): _record(path) for path in _files_of(partial)}
        if not files:
            raise DataError("wrote no file", stage=stage)
        manifest = Manifest(
            stage=stage,
            fingerprint=fingerprint,
            content=_content(files),
            key=dict(key),
            files=files,
            summary=dict(summary),
        )
        write_synced(partial / MANIFEST, canonical_json(manifest.model_dump(mode="json"), indent=1))
        _sync_folders(partial)
        target = self.folder(stage, name, fingerprint)
        _remove(target)
        partial.rename(target)
        _sync(target.parent)
        return _artifact(manifest, target)

    def remove(self, stage: str, name: str, fingerprint: str) -> None:
        """Remove a damaged artefact so that it can be rebuilt. Needs the lock.

        The manifest goes first: cut off half-way, what is left does not count as an artefact.
        """
        folder = self.folder(stage, name, fingerprint)
        (folder / MANIFEST).unlink(missing_ok=True)
        _remove(folder)

    def _partial(self, stage: str, name: str, fingerprint: str) -> Path:
        return self.root / stage / f".{name}-{fingerprint[:_FOLDER_DIGITS]}.partial"


def verify(folder: Path, fingerprint: str | None = None) -> Artifact:
    """Check every file of an artefact against its manifest and return a reference to it.

    Raises:
        ArtifactError: naming the first file that is missing, surplus or altered.
    """
    manifest = _read_manifest(folder)
    if fingerprint is not None and manifest.fingerprint != fingerprint:
        raise _damaged(folder / MANIFEST, "its fingerprint is not the one asked for", manifest.stage)
    if fingerprint_of(manifest.key) != manifest.fingerprint or _content(manifest.files) != manifest.content:
        raise _damaged(folder / MANIFEST, "its digests do not match what it lists", manifest.stage)
    present = {_relative(path, folder) for path in _files_of(folder)} - {MANIFEST}
    for name in sorted(present - manifest.files.keys()):
        raise _damaged(folder / name, "is not in the manifest", manifest.stage)
    for name, expected in sorted(manifest.files.items()):
        if name not in present:
            raise _damaged(folder / name, "is missing", manifest.stage)
        if (folder / name).stat().st_size != expected.size or sha256_of(folder / name) != expected.sha256:
            raise _damaged(folder / name, "was altered after it was written", manifest.stage)
    return _artifact(manifest, folder)


def fingerprint_of(key: Mapping[str, Any]) -> str:
    """Sha256 of a key: equal keys give equal fingerprints, whatever the order of their entries."""
    return hashlib.sha256(canonical_json(key).encode()).hexdigest()


def canonical_json(value: Any, indent: int | None = None) -> str:
    """JSON with sorted keys and no NaN, so that equal values have equal text."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, indent=indent, default=str)


def sha256_of(path: Path) -> str:
    """Sha256 of a file, read in blocks so that its size does not matter."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def write_synced(path: Path, text: str) -> None:
    """Write text so that it is on the disk when this returns."""
    with path.open("w", encoding="utf-8") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())


def replace_atomically(path: Path, text: str) -> None:
    """Replace a small file so that a reader sees the old text or the new, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    write_synced(temporary, text)
    temporary.replace(path)
    _sync(path.parent)


def _artifact(manifest: Manifest, folder: Path) -> Artifact:
    return Artifact(
        stage=manifest.stage, fingerprint=manifest.fingerprint, content=manifest.content, path=folder
    )


def _read_manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except (OSError, ValidationError, ValueError) as error:
        raise _damaged(path, f"cannot be read ({type(error).__name__})") from error


def _damaged(path: Path, problem: str, stage: str = "") -> ArtifactError:
    return ArtifactError(problem, stage=stage, where=path, remedy="run again to have the artefact rebuilt")


def _content(files: Mapping[str, FileRecord]) -> str:
    return fingerprint_of({name: record.sha256 for name, record in files.items()})


def _files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if not path.is_dir())


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _record(path: Path) -> FileRecord:
    _sync(path)
    return FileRecord(size=path.stat().st_size, sha256=sha256_of(path))


def _sync_folders(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_dir():
            _sync(path)
    _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
