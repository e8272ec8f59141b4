"""Checkpoints that exist whole or not at all, and are believed only after their hashes were checked.

A checkpoint is a folder `step-000001000/`: weights as safetensors under Hugging Face's names, loop and
optimiser state readable with `torch.load(weights_only=True)`, and `manifest.json` with the size and SHA-256
of every file, written last. What ranks hold in parts (`models.sharding`) lies in `models.row_files` instead.
It is built beside its final place (never in $TMPDIR), every file and folder is fsynced, and a rename publishes
it. Then `LATEST` points to it, and only then older ones may go.

Lightning's own writer reports success where nothing was saved (Lightning #21800), goes through $TMPDIR and
destroys the last good file when the copy is interrupted; nothing there notices NaN weights or bit rot.
docs/decisions/0015-checkpoints.md tells why this one is as it is.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import CheckpointIO
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from models.background_writer import BackgroundWriter
from models.checkpoint import (
    load_state,
    load_weights,
    optimiser_tensors,
    refuse_non_finite,
    refuse_other_identity,
    tensors_in,
    verify,
)
from models.checkpoint_files import (
    SCHEMA,
    STATE,
    WEIGHTS,
    CheckpointError,
    describe,
    discard,
    read_manifest,
    sync,
    temporary_beside,
    write_manifest,
)
from models.checkpoint_retention import point_to, retain
from models.row_files import RowFiles, join

_SPACE_FACTOR = 1.1

logger = logging.getLogger(__name__)


class VerifiedCheckpointIO(CheckpointIO):
    """Lightning's checkpoint plugin in terms of the functions above.

    Args:
        identity: what tells this run from others; stored, and compared by `refuse_other_identity`.
        prefix: what Lightning puts before the names of the model's parameters.
        background: write in a thread of its own, from a copy of all tensors; see `BackgroundWriter`.

    """

    def __init__(self, identity: Mapping[str, str], prefix: str, *, background: bool = False) -> None:
        self._identity, self._prefix = dict(identity), prefix
        self._writer = BackgroundWriter() if background else None
        self._verified: set[Path] = set()  # by this object, so that keeping two costs no second look at them

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any | None = None
    ) -> None:
        """Write `checkpoint` as the folder `path`, then let go of old ones (`retain`).

        In the background, this returns when everything was copied; errors come from `raise_failure`.

        Raises:
            CheckpointError: numbers that are not finite, or too little space on the disk. Nothing is written
                then, and earlier checkpoints stay.
            OSError: the disk refused; again earlier checkpoints stay.

        """
        state = dict(checkpoint)
        weights = {
            name.removeprefix(self._prefix): tensor.detach().cpu().contiguous()
            for name, tensor in state.pop("state_dict").items()
        }
        if self._writer is None:
            self._write(Path(path), weights, state)
        else:
            self._writer.submit(partial(self._write, Path(path), _copy(weights), _copy(state)))

    def wait(self) -> None:
        """Return when the last checkpoint is whole; raises what its writing raised."""
        if self._writer is not None:
            self._writer.wait()

    def raise_failure(self) -> None:
        """Raise what writing in the background raised, without waiting for it to end."""
        if self._writer is not None:
            self._writer.raise_failure()

    def _write(self, target: Path, weights: dict[str, Tensor], state: dict[str, Any]) -> None:
        refuse_non_finite(weights, "weight", target)
        refuse_non_finite(optimiser_tensors(state), "optimiser's", target)
        if self._is_valid(target):
            return  # the same step of the same run: replacing it would only leave a moment without it
        target.parent.mkdir(parents=True, exist_ok=True)
        _require_space(target.parent, weights, state)
        temporary = temporary_beside(target)
        try:
            temporary.mkdir()
            self._fill(temporary, weights, state)
            _publish(temporary, target)
        except (SafetensorError, RuntimeError) as error:  # how both libraries tell of a full or broken disk
            room = _room(target.parent, weights, state)
            raise CheckpointError(f"{target}: cannot be written ({_reason(error)}; {room})") from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        verify(target)
        self._verified.add(target)
        point_to(target)
        retain(target.parent, self._is_valid)

    def _is_valid(self, path: Path) -> bool:
        if path not in self._verified:
            try:
                refuse_other_identity(path, self._identity)
                verify(path)
            except CheckpointError:
                return False
            self._verified.add(path)
        return path.is_dir()

    def _fill(self, folder: Path, weights: dict[str, Tensor], state: dict[str, Any]) -> None:
        save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
        with (folder / STATE).open("wb") as file:  # given a name, torch forgets what the system said
            torch.save(state, file)
        names = sorted(file.name for file in folder.iterdir())
        for name in names:
            sync(folder / name)
        manifest = {
            "schema": SCHEMA,
            "step": int(state["global_step"]),
            "identity": self._identity,
            "world_size": int(state.get("world_size", 1)),
            "validation_loss": state.get("validation_loss"),
            "made_with": made_with(),
            "files": {name: describe(folder / name) for name in names},
        }
        write_manifest(folder, manifest)

    def load_checkpoint(
        self, path: str | os.PathLike[str], map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a verified checkpoint in the shape Lightning expects; nothing in it is ever executed."""
        weights = load_weights(Path(path))
        state = dict(join(load_state(Path(path)), RowFiles(Path(path)).whole))
        self._verified.add(Path(path))
        _tell_other_versions(Path(path))
        state["state_dict"] = {self._prefix + name: tensor for name, tensor in weights.items()}
        return state

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Delete a checkpoint; it stops being one before its first file goes."""
        discard(Path(path))


@cache
def made_with() -> dict[str, str]:
    """What a bitwise equal continuation needs to be the same: the libraries and this package's code."""
    code = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        code.update(file.name.encode() + b"\0" + file.read_bytes())
    return {
        "torch": str(torch.__version__),
        "lightning": str(pl.__version__),
        "models": code.hexdigest()[:16],
    }


def _tell_other_versions(path: Path) -> None:
    found, now = read_manifest(path)["made_with"], made_with()
    changed = [
        f"{name} was {found.get(name)}, is {now[name]}" for name in now if found.get(name) != now[name]
    ]
    if changed:
        logger.warning(
            "%s: going on with other code (%s): bitwise equality ends here", path, ", ".join(changed)
        )


def _reason(error: BaseException) -> str:
    """What the system said, where a library kept it; the library's own words otherwise."""
    if isinstance(error.__context__, OSError):
        return str(error.__context__.strerror)
    return (str(error).splitlines() or [type(error).__name__])[0]


def _publish(temporary: Path, target: Path) -> None:
    if target.exists():  # a damaged one of the same step
        discard(target)
    temporary.rename(target)
    sync(target.parent)


def _require_space(folder: Path, weights: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    if shutil.disk_usage(folder).free < _bytes_needed(weights, state):
        raise CheckpointError(f"{folder}: {_room(folder, weights, state)}; make room and start again")


def _room(folder: Path, weights: Mapping[str, Tensor], state: Mapping[str, Any]) -> str:
    needed, free = _bytes_needed(weights, state), shutil.disk_usage(folder).free
    return f"a checkpoint needs {needed} bytes and {free} are free"


def _bytes_needed(weights: Mapping[str, Tensor], state: Mapping[str, Any]) -> int:
    return int(_SPACE_FACTOR * sum(tensor.nbytes for _, tensor in (*weights.items(), *tensors_in(state, ""))))


def _copy(value: Any) -> Any:
    """The same nested dictionaries and lists with a copy of every tensor, on the CPU."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _copy(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_copy(child) for child in value)
    return value
