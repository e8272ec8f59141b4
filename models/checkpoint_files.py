"""The files of one checkpoint: their names, how they reach the disk, and the manifest that vouches for them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

WEIGHTS, STATE, MANIFEST = "model.safetensors", "state.pt", "manifest.json"
SCHEMA = 2
STEP_PREFIX, TEMPORARY_PREFIX = "step-", ".tmp-"
_DIGEST = "digest"


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be written or must not be used; the message names the file."""


def checkpoint_path(folder: Path, step: int) -> Path:
    """Where the checkpoint of `step` lies."""
    return folder / f"{STEP_PREFIX}{step:09d}"


def newest_first(folder: Path) -> list[Path]:
    """Everything in `folder` that is called like a checkpoint, the latest step first."""
    return sorted((path for path in folder.glob(f"{STEP_PREFIX}*") if path.is_dir()), reverse=True)


def write_manifest(folder: Path, content: Mapping[str, Any]) -> None:
    """Write `manifest.json` into `folder` and sync both; every other file has to be there already."""
    (folder / MANIFEST).write_text(_render(content), encoding="utf-8")
    sync(folder / MANIFEST)
    sync(folder)


def read_manifest(path: Path) -> dict[str, Any]:
    """Return the manifest of a checkpoint without checking its files.

    Raises:
        CheckpointError: it is missing, malformed, or not byte by byte what was written.
    """
    file = path / MANIFEST
    try:
        text = file.read_text(encoding="utf-8")
        manifest = json.loads(text)
        intact = text == _render({name: value for name, value in manifest.items() if name != _DIGEST})
        usable = (
            manifest["schema"] == SCHEMA
            and checkpoint_path(path.parent, int(manifest["step"])) == path
            and isinstance(manifest["identity"], dict)
            and isinstance(manifest["made_with"], dict)
            and manifest["files"].keys() >= {WEIGHTS, STATE}
            and all(name == Path(name).name for name in manifest["files"])
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{file}: missing or malformed ({error})") from error
    if not intact:
        raise CheckpointError(f"{file}: altered since it was written")
    if not usable:
        raise CheckpointError(f"{file}: not a checkpoint manifest of schema {SCHEMA}")
    return dict(manifest)


def _render(content: Mapping[str, Any]) -> str:
    """The one text of a manifest, with a digest of its own: a flipped bit in it would go unseen otherwise."""
    plain = json.dumps(content, indent=2, sort_keys=True)
    digest = hashlib.sha256(plain.encode()).hexdigest()
    return json.dumps({**content, _DIGEST: digest}, indent=2, sort_keys=True) + "\n"


def describe(file: Path) -> dict[str, Any]:
    """Size in bytes and SHA-256 of a file."""
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return {"bytes": os.fstat(stream.fileno()).st_size, "sha256": digest}


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def temporary_beside(target: Path) -> Path:
    """A name for what is not `target` yet or no longer: on its file system, and never taken for a checkpoint."""
    return target.parent / f"{TEMPORARY_PREFIX}{target.name}-{uuid.uuid4().hex}"


def discard(path: Path) -> None:
    """Delete a checkpoint; it stops being one before its first file goes."""
    doomed = temporary_beside(path)
    path.rename(doomed)
    shutil.rmtree(doomed)


def remove_leftovers(folder: Path) -> None:
    """Delete what writers that were killed left behind. Only one process may work on `folder`."""
    for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
