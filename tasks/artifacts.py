"""The artefact store: a stage's output is a folder that is whole, verified and named by its key, or absent.

``artifacts/<stage>/<name>-<fingerprint>/`` is written in a hidden folder beside its final place, every file
is fsynced, ``manifest.json`` (`tasks.manifests`) is written last, and one rename publishes it.
Two processes on one key take turns through ``flock``, which the kernel releases when its holder dies.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tasks import failpoints, locks
from tasks.canonical import canonical_json, fingerprint_of
from tasks.durable import open_folder, remove, sha256_of, sync_folders, there, write_synced
from tasks.errors import ArtifactError
from tasks.manifests import MANIFEST, Artifact, Manifest, reference_to, take_stock, verify

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

# What a resumable stage may leave behind for its next attempt; never part of the artefact.
CHECKPOINTS = "checkpoints"
_FOLDER_DIGITS = 16


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
        manifest = take_stock(partial, stage, key, summary)
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
        return reference_to(manifest, target)

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
