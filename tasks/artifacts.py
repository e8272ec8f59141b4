"""The artefact store: a stage's output is a folder that is whole, verified and named by its key, or absent.

``artifacts/<stage>/<name>-<fingerprint>/`` is written in a hidden folder beside its final place, every file
is fsynced, ``manifest.json`` (each file's size and sha256, the inputs, the configuration, the code version
and the counts) is written last, and one rename publishes it. A folder without a manifest does not exist.
Two processes on one key take turns through ``flock``, which the kernel releases when its holder dies.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from tasks import failpoints, locks
from tasks.canonical import canonical_json, fingerprint_of, plain
from tasks.durable import (
    entries,
    open_folder,
    remove,
    sha256_of,
    sync,
    sync_folders,
    there,
    write_synced,
)
from tasks.errors import ArtifactError, DataError

__all__ = [
    "CHECKPOINTS",
    "MANIFEST",
    "Artifact",
    "Manifest",
    "Store",
    "canonical_json",
    "fingerprint_of",
    "sha256_of",
    "verify",
    "write_synced",
]

MANIFEST = "manifest.json"
# What a resumable stage may leave behind for its next attempt; never part of the artefact.
CHECKPOINTS = "checkpoints"
_FOLDER_DIGITS = 16
# Failures that say the artefact is bad. Others (no memory, too many open files) are no reason to rebuild it.
_BAD = {errno.ENOENT, errno.EIO, errno.EISDIR, errno.ENOTDIR, errno.ELOOP}


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
        """The artefact's manifest, read and checked anew."""
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
    digest: str = ""

    def sealed(self) -> Manifest:
        """A copy with the digest of everything else, so that no altered byte of it goes unnoticed."""
        return self.model_copy(
            update={"digest": fingerprint_of(self.model_dump(mode="json", exclude={"digest"}))}
        )

    def text(self) -> str:
        """The one way to write this manifest."""
        return canonical_json(self.model_dump(mode="json"), indent=1)


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
            ArtifactError: a file of it is missing, truncated, altered or surplus; the message names it.
        """
        folder = self.folder(stage, name, fingerprint)
        if not there(folder / MANIFEST):
            return None
        return verify(folder, fingerprint)

    def locked(self, stage: str, name: str, fingerprint: str) -> AbstractContextManager[None]:
        """Hold the lock of one key; waits while another process computes it, however long that takes."""
        path = self._hidden(stage, name, fingerprint, "lock")
        with _real_folder(path.parent, stage):
            pass  # refused by name, where a lock would only say that something is no folder
        return locks.held(path, waiting_for=f"another process at work on {stage}")

    def begin(self, stage: str, name: str, fingerprint: str) -> Path:
        """An empty folder to write in, but for the checkpoints of a former attempt. Needs the lock."""
        folder, aside = self._partial(stage, name, fingerprint), self._aside(stage, name, fingerprint)
        with _real_folder(folder.parent, stage) as real:
            if folder.is_symlink() or not folder.is_dir():
                remove(folder)
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder.name, dir_fd=real)
        for entry in folder.iterdir():
            if entry.name != CHECKPOINTS:
                remove(entry)
        if aside.exists() and not (folder / CHECKPOINTS).exists():
            aside.rename(folder / CHECKPOINTS)
        return folder

    def abandon(self, stage: str, name: str, fingerprint: str) -> None:
        """Remove what a failed attempt wrote, keeping only its checkpoints. Needs the lock."""
        folder = self.begin(stage, name, fingerprint)
        if not (folder / CHECKPOINTS).exists():
            remove(folder)

    def commit(self, stage: str, name: str, key: Mapping[str, Any], summary: Mapping[str, Any]) -> Artifact:
        """Publish what was written: checkpoints aside, files synced, manifest last, one rename.

        Raises:
            DataError: nothing was written, or something that is not a plain file, or a file that is called as
                the manifest.
        """
        fingerprint = fingerprint_of(key)
        partial, target = self._partial(stage, name, fingerprint), self.folder(stage, name, fingerprint)
        self._set_aside(stage, name, fingerprint)
        manifest = _manifest(partial, stage, key, summary)
        failpoints.hit("before-manifest", partial / MANIFEST)
        write_synced(partial / MANIFEST, manifest.text())
        sync_folders(partial)
        self.remove(stage, name, fingerprint)
        failpoints.hit("before-rename", target)
        with _real_folder(target.parent, stage) as real:
            os.rename(partial.name, target.name, src_dir_fd=real, dst_dir_fd=real)
            failpoints.hit("after-rename", target)
            os.fsync(real)
        self.tidy(stage, name, fingerprint)
        return _artifact(manifest, target)

    def remove(self, stage: str, name: str, fingerprint: str) -> None:
        """Remove a damaged artefact so that it can be rebuilt. Needs the lock.

        The manifest goes first: cut off half-way, what is left does not count as an artefact.
        """
        folder = self.folder(stage, name, fingerprint)
        if folder.is_dir() and not folder.is_symlink():
            remove(folder / MANIFEST)
        remove(folder)

    def tidy(self, stage: str, name: str, fingerprint: str) -> None:
        """Remove what a finished artefact no longer needs: checkpoints and half attempts. Needs the lock."""
        remove(self._aside(stage, name, fingerprint))
        remove(self._partial(stage, name, fingerprint))

    def _set_aside(self, stage: str, name: str, fingerprint: str) -> None:
        """Keep the checkpoints until the artefact is published: a full disk must not cost a training."""
        checkpoints = self._partial(stage, name, fingerprint) / CHECKPOINTS
        if there(checkpoints):
            aside = self._aside(stage, name, fingerprint)
            remove(aside)
            checkpoints.rename(aside)

    def _partial(self, stage: str, name: str, fingerprint: str) -> Path:
        return self._hidden(stage, name, fingerprint, "partial")

    def _aside(self, stage: str, name: str, fingerprint: str) -> Path:
        return self._hidden(stage, name, fingerprint, CHECKPOINTS)

    def _hidden(self, stage: str, name: str, fingerprint: str, kind: str) -> Path:
        return self.root / stage / f".{name}-{fingerprint[:_FOLDER_DIGITS]}.{kind}"


def verify(folder: Path, fingerprint: str | None = None) -> Artifact:
    """Check every file of an artefact against its manifest and return a reference to it.

    Raises:
        ArtifactError: naming the first file that is missing, surplus or altered.
    """
    manifest = _read_manifest(folder)
    if fingerprint is not None and manifest.fingerprint != fingerprint:
        raise _damaged(folder / MANIFEST, "its fingerprint is not the one asked for", manifest.stage)
    present = {_relative(path, folder) for path in entries(folder)} - {MANIFEST}
    for name in sorted(present - manifest.files.keys()):
        raise _damaged(folder / name, "is not in the manifest", manifest.stage)
    for name, expected in sorted(manifest.files.items()):
        if name not in present:
            raise _damaged(folder / name, "is missing", manifest.stage)
        if problem := _problem(folder / name, expected):
            raise _damaged(folder / name, problem, manifest.stage)
    return _artifact(manifest, folder)


@contextlib.contextmanager
def _real_folder(folder: Path, stage: str) -> Iterator[int]:
    """A folder of the store, held by a descriptor so that no link can lead what is done in it elsewhere.

    Raises:
        ArtifactError: it is, or was changed into, a symbolic link or a file.
    """
    try:
        descriptor = open_folder(folder)
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
        remedy = "remove it, or choose another workspace with UNVEIL_HOME"
        raise ArtifactError(
            "is a link or a file, not a folder", stage=stage, where=folder, remedy=remedy
        ) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _manifest(folder: Path, stage: str, key: Mapping[str, Any], summary: Mapping[str, Any]) -> Manifest:
    """Sync and record every file of a folder."""
    files = {_relative(path, folder): _record(path, stage) for path in entries(folder)}
    if not files:
        raise DataError("wrote no file", stage=stage)
    if MANIFEST in files:
        raise DataError("wrote a file that is called as the manifest", stage=stage, where=MANIFEST)
    return Manifest(
        stage=stage,
        fingerprint=fingerprint_of(key),
        content=_content(files),
        key=plain(key),
        files=files,
        summary=plain(summary),
    ).sealed()


def _record(path: Path, stage: str) -> FileRecord:
    if not stat.S_ISREG(path.lstat().st_mode):
        raise DataError("wrote something that is not a plain file", stage=stage, where=path)
    sync(path)
    return FileRecord(size=path.stat().st_size, sha256=sha256_of(path))


def _read_manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST
    if folder.is_symlink() or path.is_symlink():
        raise _damaged(path, "is reached through a symbolic link")
    try:
        text = path.read_bytes()
        manifest = Manifest.model_validate_json(text)
    except ValueError as error:  # pydantic's errors are ValueErrors
        raise _damaged(path, "is not a manifest") from error
    except OSError as error:
        if error.errno not in _BAD:
            raise
        raise _damaged(path, f"cannot be read ({error.strerror})") from error
    if manifest != manifest.sealed() or manifest.text().encode() != text:
        raise _damaged(path, "was altered after it was written", manifest.stage)
    if fingerprint_of(manifest.key) != manifest.fingerprint or _content(manifest.files) != manifest.content:
        raise _damaged(path, "its digests do not match what it lists", manifest.stage)
    return manifest


def _problem(path: Path, expected: FileRecord) -> str:
    """What is wrong with a file, or nothing."""
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            return "is not a plain file"
        if status.st_size != expected.size or sha256_of(path) != expected.sha256:
            return "was altered after it was written"
    except OSError as error:
        if error.errno not in _BAD:
            raise
        return f"cannot be read ({error.strerror})"
    return ""


def _artifact(manifest: Manifest, folder: Path) -> Artifact:
    return Artifact(
        stage=manifest.stage, fingerprint=manifest.fingerprint, content=manifest.content, path=folder
    )


def _damaged(path: Path, problem: str, stage: str = "") -> ArtifactError:
    return ArtifactError(problem, stage=stage, where=path, remedy="run again to have the artefact rebuilt")


def _content(files: Mapping[str, FileRecord]) -> str:
    return fingerprint_of({name: record.sha256 for name, record in files.items()})


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()
