"""Checkpoints that exist whole or not at all, and are believed only after their hashes were checked.

A checkpoint is a folder `step-000001000/`: weights as safetensors under Hugging Face's names, loop and
optimiser state readable with `torch.load(weights_only=True)`, and `manifest.json` with the size and SHA-256
of every file, written last. What ranks hold in parts (`models.sharding`) lies in `models.row_files` instead.
It is built beside its final place (never in $TMPDIR), every file and folder is
fsynced, and a rename publishes it.

Lightning's own writer reports success where nothing was saved (Lightning #21800), goes through $TMPDIR and
destroys the last good file when the copy is interrupted; nothing there notices NaN weights or bit rot.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import CheckpointIO
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.row_files import RowFiles, RowFilesError, join

WEIGHTS, STATE, MANIFEST = "model.safetensors", "state.pt", "manifest.json"
WEIGHT_ROWS = "state_dict/"
"""What the names of weights begin with in files of rows."""
KEPT = 2
_SCHEMA = 1
_SPACE_FACTOR = 1.1
_STEP_PREFIX, _TEMPORARY_PREFIX = "step-", ".tmp-"

logger = logging.getLogger(__name__)


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be written or must not be used; the message names the file."""


class IdentityError(CheckpointError):
    """A checkpoint of another model, training configuration, tokenizer or data."""


def checkpoint_path(folder: Path, step: int) -> Path:
    """Where the checkpoint of `step` lies."""
    return folder / f"{_STEP_PREFIX}{step:09d}"


def latest_valid(folder: Path) -> Path | None:
    """The newest checkpoint in `folder` whose every byte is as written; None when there is none.

    A damaged one is passed over with a warning that names it and the fault; it is left for the user to look
    at.
    """
    for path in _newest_first(folder):
        try:
            verify(path)
        except CheckpointError as error:
            logger.warning("ignoring a damaged checkpoint: %s; trying the one before", error)
        else:
            return path
    return None


def verify(path: Path) -> dict[str, Any]:
    """Return the manifest of the checkpoint at `path` after checking every file against it.

    Raises:
        CheckpointError: a file is missing, truncated, altered or not listed.

    """
    manifest = read_manifest(path)
    for name, promised in manifest["files"].items():
        file = path / name
        try:
            found = _describe(file)
        except OSError as error:
            raise CheckpointError(f"{file}: cannot be read ({error.strerror})") from error
        if found != promised:
            raise CheckpointError(f"{file}: size or SHA-256 differs from {MANIFEST}")
    return manifest


def read_manifest(path: Path) -> dict[str, Any]:
    """Return the manifest of a checkpoint without checking its files.

    Raises:
        CheckpointError: it is missing or malformed.

    """
    file = path / MANIFEST
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        usable = (
            manifest["schema"] == _SCHEMA
            and checkpoint_path(path.parent, int(manifest["step"])) == path
            and isinstance(manifest["identity"], dict)
            and manifest["files"].keys() >= {WEIGHTS, STATE}
            and all(name == Path(name).name for name in manifest["files"])
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{file}: missing or malformed ({error})") from error
    if not usable:
        raise CheckpointError(f"{file}: not a checkpoint manifest of schema {_SCHEMA}")
    return dict(manifest)


def refuse_other_identity(path: Path, identity: Mapping[str, str]) -> None:
    """Check that the checkpoint at `path` was made by the run that `identity` describes.

    Raises:
        IdentityError: naming every entry that differs, with both values.

    """
    found = read_manifest(path)["identity"]
    differing = sorted(
        name for name in found.keys() | identity.keys() if found.get(name) != identity.get(name)
    )
    if differing:
        changes = ", ".join(f"{name} was {found.get(name)}, is {identity.get(name)}" for name in differing)
        raise IdentityError(
            f"{path}: belongs to another run ({changes}); use another folder, or remove this one"
        )


def load_weights(path: Path) -> dict[str, Tensor]:
    """Return the verified weights of the checkpoint at `path`, under Hugging Face's names.

    Raises:
        CheckpointError: the checkpoint is damaged or a weight is not finite.

    """
    verify(path)
    try:
        weights = load_file(path / WEIGHTS)
        rows = RowFiles(path)
        weights |= {
            name.removeprefix(WEIGHT_ROWS): rows.whole(name)
            for name in rows.names
            if name.startswith(WEIGHT_ROWS)
        }
    except SafetensorError as error:
        raise CheckpointError(f"{path / WEIGHTS}: not a safetensors file ({error})") from error
    except RowFilesError as error:
        raise CheckpointError(str(error)) from error
    _refuse_non_finite(weights, path / WEIGHTS)
    return weights


def load_state(path: Path) -> dict[str, Any]:
    """Return everything but the weights, read without executing anything. Verify the checkpoint first.

    What lies in files of rows is marked, for `models.row_files.join` to put in.
    """
    try:
        state = torch.load(path / STATE, map_location="cpu", weights_only=True)
    except Exception as error:  # torch reports a malformed file in many ways
        raise CheckpointError(f"{path / STATE}: cannot be read ({str(error).splitlines()[0]})") from error
    return dict(state)


def remove_leftovers(folder: Path) -> None:
    """Delete what writers that were killed left behind. Only one process may work on `folder`."""
    for path in folder.glob(f"{_TEMPORARY_PREFIX}*"):
        shutil.rmtree(path, ignore_errors=True)


class VerifiedCheckpointIO(CheckpointIO):
    """Lightning's checkpoint plugin in terms of the functions above.

    Args:
        identity: what tells this run from others; stored, and compared by `refuse_other_identity`.
        prefix: what Lightning puts before the names of the model's parameters.

    """

    def __init__(self, identity: Mapping[str, str], prefix: str) -> None:
        self._identity, self._prefix = dict(identity), prefix

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any | None = None
    ) -> None:
        """Write `checkpoint` as the folder `path`, then let go of checkpoints beyond the newest `KEPT`.

        Raises:
            CheckpointError: weights that are not finite, or too little space on the disk. Nothing is written
                then, and earlier checkpoints stay.
            OSError: the disk refused; again earlier checkpoints stay.

        """
        target = Path(path)
        state = dict(checkpoint)
        weights = {
            name.removeprefix(self._prefix): tensor.detach().cpu().contiguous()
            for name, tensor in state.pop("state_dict").items()
        }
        _refuse_non_finite(weights, target)
        target.parent.mkdir(parents=True, exist_ok=True)
        _require_space(target.parent, weights, state)
        temporary = target.parent / f"{_TEMPORARY_PREFIX}{target.name}-{uuid.uuid4().hex}"
        try:
            temporary.mkdir()
            self._fill(temporary, weights, state)
            _publish(temporary, target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        verify(target)
        _keep_newest(target.parent)

    def _fill(self, folder: Path, weights: dict[str, Tensor], state: dict[str, Any]) -> None:
        save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
        torch.save(state, folder / STATE)
        names = sorted(file.name for file in folder.iterdir())
        for name in names:
            _sync(folder / name)
        manifest = {
            "schema": _SCHEMA,
            "step": int(state["global_step"]),
            "identity": self._identity,
            "files": {name: _describe(folder / name) for name in names},
        }
        (folder / MANIFEST).write_text(
            json.dumps(manifest, indent=2, sort_keys=True) + "\n", encoding="utf-8"
        )
        _sync(folder / MANIFEST)
        _sync(folder)

    def load_checkpoint(
        self, path: str | os.PathLike[str], map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a verified checkpoint in the shape Lightning expects; nothing in it is ever executed."""
        weights = load_weights(Path(path))
        state = dict(join(load_state(Path(path)), RowFiles(Path(path)).whole))
        state["state_dict"] = {self._prefix + name: tensor for name, tensor in weights.items()}
        return state

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Delete a checkpoint; it stops being one before its first file goes."""
        _discard(Path(path))


def _newest_first(folder: Path) -> list[Path]:
    return sorted((path for path in folder.glob(f"{_STEP_PREFIX}*") if path.is_dir()), reverse=True)


def _keep_newest(folder: Path) -> None:
    """Delete old checkpoints. The newest has just been verified, so one valid checkpoint always remains."""
    for path in _newest_first(folder)[KEPT:]:
        _discard(path)


def _discard(path: Path) -> None:
    doomed = path.parent / f"{_TEMPORARY_PREFIX}{path.name}-{uuid.uuid4().hex}"
    path.rename(doomed)
    shutil.rmtree(doomed)


def _publish(temporary: Path, target: Path) -> None:
    if target.exists():  # a damaged one of the same step
        _discard(target)
    temporary.rename(target)
    _sync(target.parent)


def _refuse_non_finite(weights: Mapping[str, Tensor], where: Path) -> None:
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{where}: the weight {name} is not finite; it was neither saved nor used")


def _require_space(folder: Path, weights: Mapping[str, Tensor], state: object) -> None:
    needed = int(_SPACE_FACTOR * (sum(t.nbytes for t in weights.values()) + _tensor_bytes(state)))
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise CheckpointError(
            f"{folder}: a checkpoint needs {needed} bytes and {free} are free; make room and start again"
        )


def _tensor_bytes(value: object) -> int:
    if isinstance(value, Tensor):
        return value.nbytes
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return sum(_tensor_bytes(child) for child in children)


def _describe(file: Path) -> dict[str, Any]:
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return {"bytes": os.fstat(stream.fileno()).st_size, "sha256": digest}


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
