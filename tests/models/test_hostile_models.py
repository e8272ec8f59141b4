"""Eleven files that would do harm, at both doors: a checkpoint taken up, and a model folder loaded."""

from __future__ import annotations

import argparse
import json
import os
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.checkpoint import CheckpointError, checkpoint_path, latest_valid
from models.checkpoint_files import describe, write_manifest
from models.checkpoint_io import VerifiedCheckpointIO
from models.export import load_pretrained, save_pretrained
from models.transformer import LanguageModel
from tests.models.tiny_training import TINY

PREFIX = "network."


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint and a model folder of the same weights."""
    root = tmp_path_factory.mktemp("good")
    model = LanguageModel(TINY, seed=1)
    weights = {PREFIX + name: weight for name, weight in model.state_dict().items()}
    given = {"global_step": 1, "state_dict": weights, "optimizer_states": [{"state": {}}]}
    VerifiedCheckpointIO({}, PREFIX).save_checkpoint(given, checkpoint_path(root, 1))
    save_pretrained(model, root / "model")
    return root


@pytest.fixture
def checkpoint(folders: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint_path(folders, 1), checkpoint_path(tmp_path, 1)))


@pytest.fixture
def model(folders: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folders / "model", tmp_path / "model"))


class Bomb:
    """Whatever unpickles it touches the canary."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {self.canary}",))


def _hidden_in_the_optimiser(state: dict[str, Any], canary: Path) -> Any:
    return {**state, "optimizer_states": [{"state": {0: {"momentum": Bomb(canary)}}}]}


PICKLES: dict[str, Callable[[dict[str, Any], Path], Any]] = {
    "a command instead of a state": lambda state, canary: Bomb(canary),
    "nested in a dictionary": lambda state, canary: {**state, "loops": {"fit_loop": {"x": Bomb(canary)}}},
    "hidden in the optimiser": _hidden_in_the_optimiser,
    "a global that only unsafe loading finds": lambda state, canary: {**state, "h": argparse.Namespace(a=1)},
}


def sign_again(folder: Path) -> None:
    """Write the manifest an attacker would write: every digest is right."""
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["digest"]
    files = {name: describe(folder / name) for name in manifest["files"]}
    write_manifest(folder, {**manifest, "files": files})


def load_checkpoint(folder: Path) -> None:
    """As a caller who asks for the unsafe way would; the plugin has no such way."""
    VerifiedCheckpointIO({}, PREFIX).load_checkpoint(folder, weights_only=False)


@pytest.mark.parametrize("name", PICKLES)
def test_a_pickle_is_never_run(checkpoint: Path, model: Path, tmp_path: Path, name: str) -> None:
    canary = tmp_path / "canary"
    state = torch.load(checkpoint / "state.pt", weights_only=True)
    hostile = PICKLES[name](state, canary)

    torch.save(hostile, checkpoint / "state.pt")
    with pytest.raises(CheckpointError, match=r"state\.pt: size or SHA-256 differs"):
        load_checkpoint(checkpoint)
    sign_again(checkpoint)
    with pytest.raises(CheckpointError, match=r"state\.pt: cannot be read"):
        load_checkpoint(checkpoint)

    torch.save(hostile, model / "model.safetensors")
    with pytest.raises(ValueError, match=r"model\.safetensors is not a readable safetensors file"):
        load_pretrained(model)
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"pytorch_model\.bin is pickle"):
        load_pretrained(model)
    assert not canary.exists()

    if name != "a global that only unsafe loading finds":  # the control: these payloads do work
        pickle.loads(pickle.dumps(Bomb(canary)))
        assert canary.exists()


def rewrite(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the header of a safetensors file and leave its data."""
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size :])


def _overlap(header: dict[str, Any]) -> None:
    first, second = [name for name in header if name != "__metadata__"][:2]
    header[second]["data_offsets"] = header[first]["data_offsets"]
    header[second]["shape"] = header[first]["shape"]


def _lead_outside(path: Path) -> None:
    weights = load_file(path)
    weights["../../etc/x"] = weights.pop("model.norm.weight")
    save_file(weights, path)


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-4096] ^= 1
    path.write_bytes(data)


FILES: dict[str, Callable[[Path], Any]] = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-20]),
    "a header of 2^60 bytes": lambda path: path.write_bytes(struct.pack("<Q", 2**60) + path.read_bytes()[8:]),
    "empty": lambda path: path.write_bytes(b""),
    "extra bytes": lambda path: path.write_bytes(path.read_bytes() + b"\0" * 64),
    "overlapping offsets": lambda path: rewrite(path, _overlap),
    "a name that leads outside": _lead_outside,
    "a flipped bit": _flip,
}


@pytest.mark.parametrize("name", FILES)
def test_a_hostile_file_of_weights_is_refused_as_a_checkpoint(checkpoint: Path, name: str) -> None:
    FILES[name](checkpoint / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"model\.safetensors: size or SHA-256 differs"):
        load_checkpoint(checkpoint)
    assert latest_valid(checkpoint.parent) is None
    if name == "a flipped bit":  # nothing but the digest can tell that
        return
    sign_again(checkpoint)
    with pytest.raises(
        CheckpointError, match=r"model\.safetensors: (not a safetensors file|'\.\./\.\./etc/x' is no)"
    ):
        load_checkpoint(checkpoint)


@pytest.mark.parametrize("name", [name for name in FILES if name != "a flipped bit"])
def test_a_hostile_file_of_weights_is_refused_as_a_model(model: Path, name: str) -> None:
    FILES[name](model / "model.safetensors")
    with pytest.raises(
        ValueError, match=r"model\.safetensors is not a readable|unexpected: \.\./\.\./etc/x"
    ) as caught:
        load_pretrained(model)
    assert "\n" not in str(caught.value)
    assert not Path("/etc/x").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(checkpoint: Path, model: Path, value: float) -> None:
    for folder in (checkpoint, model):
        weights = load_file(folder / "model.safetensors")
        weights["model.norm.weight"][3] = value
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    sign_again(checkpoint)
    with pytest.raises(CheckpointError, match=r"weight model\.norm\.weight is not finite"):
        load_checkpoint(checkpoint)
    with pytest.raises(ValueError, match=r"model\.safetensors: model\.norm\.weight is not finite"):
        load_pretrained(model)
