"""Reading a checkpoint: believed only after its hashes were checked, and read without running anything.

`models.checkpoint_io` writes them and tells what they are made of; docs/decisions/0015-checkpoints.md tells why.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from models.checkpoint_files import (
    MANIFEST,
    STATE,
    WEIGHTS,
    CheckpointError,
    checkpoint_path,
    describe,
    newest_first,
    read_manifest,
    remove_leftovers,
)
from models.checkpoint_retention import warn_of_missing
from models.row_files import RowFiles, RowFilesError

__all__ = [
    "CheckpointError",
    "IdentityError",
    "checkpoint_path",
    "latest_valid",
    "load_state",
    "load_weights",
    "optimiser_tensors",
    "read_manifest",
    "refuse_non_finite",
    "refuse_other_identity",
    "remove_leftovers",
    "tensors_in",
    "verify",
]

WEIGHT_ROWS = "state_dict/"
"""What the names of weights begin with in files of rows."""
_WEIGHT_NAME = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")

logger = logging.getLogger(__name__)


class IdentityError(CheckpointError):
    """A checkpoint of another model, training configuration, tokenizer or data."""


def latest_valid(folder: Path) -> Path | None:
    """The newest checkpoint in `folder` whose every byte is as written; None when there is none.

    A damaged one is passed over with a warning that names it and the fault; it is left for the user to look
    at.
    """
    warn_of_missing(folder)
    candidates = newest_first(folder)
    for path in candidates:
        try:
            verify(path)
        except CheckpointError as error:
            logger.warning("ignoring a damaged checkpoint: %s; trying the one before", error)
        else:
            return path
    if candidates:
        logger.warning("%s: no checkpoint is left that can be used; beginning anew", folder)
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
            found = describe(file)
        except OSError as error:
            raise CheckpointError(f"{file}: cannot be read ({error.strerror})") from error
        if found != promised:
            raise CheckpointError(f"{file}: size or SHA-256 differs from {MANIFEST}")
    return manifest


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
        CheckpointError: the checkpoint is damaged, a weight is not finite or has a name that no model has.

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
    except (SafetensorError, OSError, ValueError) as error:
        where = path if isinstance(error, RowFilesError) else path / WEIGHTS
        raise CheckpointError(f"{where}: not a safetensors file ({error})") from error
    for name in weights:
        if not _WEIGHT_NAME.fullmatch(name):
            raise CheckpointError(f"{path / WEIGHTS}: {name!r} is no name of a weight")
    refuse_non_finite(weights, "weight", path / WEIGHTS)
    return weights


def load_state(path: Path) -> dict[str, Any]:
    """Return everything but the weights, read without executing anything. Verify the checkpoint first.

    What lies in files of rows is marked, for `models.row_files.join` to put in.

    Raises:
        CheckpointError: it is malformed, would run code, or is of another step than the folder's name says.

    """
    try:
        state = dict(torch.load(path / STATE, map_location="cpu", weights_only=True))
        step = int(state["global_step"])
    except Exception as error:  # torch reports a malformed file in many ways
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{path / STATE}: cannot be read ({reason})") from error
    if checkpoint_path(path.parent, step) != path:
        raise CheckpointError(f"{path / STATE}: is the state of step {step}")
    refuse_non_finite(optimiser_tensors(state), "optimiser's", path / STATE)
    return state


def refuse_non_finite(tensors: Mapping[str, Tensor], whose: str, where: Path) -> None:
    """Neither save nor use numbers that are none.

    Raises:
        CheckpointError: naming `whose` tensor is not finite, and `where`.
    """
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{where}: the {whose} {name} is not finite; it was neither saved nor used")


def optimiser_tensors(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of all optimisers in a state, by the path that leads to each."""
    return {name.lstrip("."): tensor for name, tensor in tensors_in(state.get("optimizer_states", ()), "")}


def tensors_in(value: object, name: str) -> Iterator[tuple[str, Tensor]]:
    """Every tensor in nested dictionaries and lists, with the path that leads to it."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, dict):
        for key, child in value.items():
            yield from tensors_in(child, f"{name}.{key}")
    elif isinstance(value, list | tuple):
        for place, child in enumerate(value):
            yield from tensors_in(child, f"{name}.{place}")
