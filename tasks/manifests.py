"""What an artefact is: a folder of files and ``manifest.json``, by which every byte of it can be checked.

The manifest lists each file's size and sha256, the inputs, the configuration, the code version and the counts.
A folder without one is no artefact.
"""

from __future__ import annotations

import errno
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from tasks.canonical import canonical_json, fingerprint_of, plain
from tasks.durable import entries, sha256_of, sync
from tasks.errors import ArtifactError, DataError

MANIFEST = "manifest.json"
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


def take_stock(folder: Path, stage: str, key: Mapping[str, Any], summary: Mapping[str, Any]) -> Manifest:
    """Sync and record every file of a folder.

    Raises:
        DataError: there is none, or something that is not a plain file, or one that is called as the manifest.
    """
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
    return reference_to(manifest, folder)


def reference_to(manifest: Manifest, folder: Path) -> Artifact:
    """What travels between stages in place of the artefact in this folder."""
    return Artifact(
        stage=manifest.stage, fingerprint=manifest.fingerprint, content=manifest.content, path=folder
    )


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


def _damaged(path: Path, problem: str, stage: str = "") -> ArtifactError:
    return ArtifactError(problem, stage=stage, where=path, remedy="run again to have the artefact rebuilt")


def _content(files: Mapping[str, FileRecord]) -> str:
    return fingerprint_of({name: record.sha256 for name, record in files.items()})


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()
