"""What a training takes up is its own and whole; whatever else lies there is passed over or refused by name."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from models import checkpoint_io
from models.checkpoint import CheckpointError, IdentityError, checkpoint_path, load_state
from models.trainer import TrainingResult, train
from tests.models.processes import Child, watched
from tests.models.test_finetuning import Interrupted, classifier, same
from tests.models.test_finetuning import run as finetune
from tests.models.test_hostile_models import sign_again
from tests.models.tiny_training import IDENTITY, TINY, run, tiny_config, weights_digest, write_shards


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A finished run with its shards, and the digest of its weights."""
    root = tmp_path_factory.mktemp("trained")
    result, _ = run(write_shards(root / "shards"), root / "run")
    return root, weights_digest(result)


@pytest.fixture
def copied(trained: tuple[Path, str], tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained[0], tmp_path / "copy"))


def newest(root: Path) -> Path:
    return checkpoint_path(root / "run" / "checkpoints", 20)


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "truncated": lambda path: os.truncate(path / "model.safetensors", 1000),
    "bit-flipped": lambda path: _flip(path / "state.pt"),
    "empty": lambda path: (path / "model.safetensors").write_bytes(b""),
    "without a manifest": lambda path: (path / "manifest.json").unlink(),
    "without its state": lambda path: (path / "state.pt").unlink(),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_checkpoint_costs_five_steps_and_a_loud_line(
    trained: tuple[Path, str], copied: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    DAMAGES[name](newest(copied))
    result, seen = run(copied / "shards", copied / "run")
    assert (result.resumed_from, len(seen)) == (15, 5)
    assert weights_digest(result) == trained[1]
    (line,) = (record for record in caplog.records if "damaged checkpoint" in record.message)
    assert line.levelname == "WARNING" and "step-000000020" in line.message


@pytest.mark.parametrize("sync", [1, 4, 5, 6])
@pytest.mark.parametrize("background", [False, True])
def test_killed_while_it_saves_it_goes_on_bit_by_bit(
    trained: tuple[Path, str], tmp_path: Path, sync: int, background: bool
) -> None:
    """Before the weights are on the disk, just before and after publication, and before LATEST is written."""
    child = Child(
        trained[0] / "shards",
        tmp_path / "run",
        {"checkpoint_async": background},
        {"kill_in_save": {"10": sync}},
    )
    assert child.status() == -signal.SIGKILL
    result, _ = run(trained[0] / "shards", tmp_path / "run")
    assert result.resumed_from == (10 if sync >= 5 else 5)
    assert weights_digest(result) == trained[1]
    assert not list((tmp_path / "run" / "checkpoints").glob(".tmp-*"))


@pytest.mark.parametrize(
    ("identity", "wider", "complaint"),
    [
        ({}, True, r"model\.hidden_size was 32, is 64"),
        ({"tokenizer": "t2"}, False, r"tokenizer was t1, is t2"),
        ({"data": "other"}, False, r"data was synthetic, is other"),
    ],
)
def test_another_architecture_tokenizer_or_data_is_refused_by_name(
    tmp_path: Path, identity: dict[str, str], wider: bool, complaint: str
) -> None:
    shards = write_shards(tmp_path / "shards")

    def attempt(shape: Any, told: dict[str, str]) -> TrainingResult:
        given = IDENTITY | {"tokenizer": "t1"} | told
        config = tiny_config(steps=5)
        folder = tmp_path / "run"
        return train(
            shape, config, shards, folder, on_metrics=lambda *_: None, identity=given, progress=False
        )

    attempt(TINY, {})
    before = newest_bytes(tmp_path)
    with pytest.raises(IdentityError, match=complaint):
        attempt(TINY.model_copy(update={"hidden_size": 64}) if wider else TINY, identity)
    assert newest_bytes(tmp_path) == before


def newest_bytes(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.glob("run/checkpoints/*/*")}


def _alter(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    state = torch.load(path / "state.pt", weights_only=True)
    change(state)
    torch.save(state, path / "state.pt")
    sign_again(path)


def _set(state: dict[str, Any], name: str, value: int) -> None:
    state["place"][name] = value


CONTRADICTIONS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "samples": (lambda state: _set(state, "samples", 64), r"samples was 64, is 60"),
    "epoch": (lambda state: _set(state, "epoch", 7), r"epoch was 7, is \d"),
    "seed": (lambda state: _set(state, "seed", 1), r"seed was 1, is 0"),
    "data": (lambda state: _set(state, "samples_per_epoch", 3), r"samples_per_epoch was 3, is \d+"),
    "micro-step": (lambda state: _set(state, "micro_step", 1), r"micro_step was 1, is 0"),
    "mixture": (lambda state: _set(state, "causal_rows", 1), r"causal_rows was 1, is 4"),
    "no place": (lambda state: state.pop("place"), r"does not say where"),
    "no guard": (lambda state: state.pop("guard"), r"guard cannot be taken up"),
    "step": (lambda state: state.update(global_step=16), r"state\.pt: is the state of step 16"),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_checkpoint_that_contradicts_itself_is_refused_by_name(copied: Path, name: str) -> None:
    change, complaint = CONTRADICTIONS[name]
    shutil.rmtree(newest(copied))
    _alter(checkpoint_path(copied / "run" / "checkpoints", 15), change)
    with pytest.raises(CheckpointError, match=complaint):
        run(copied / "shards", copied / "run")


def test_the_checkpoint_tells_everything_that_is_needed(copied: Path) -> None:
    state = load_state(newest(copied))
    assert state["place"] == {
        "samples": 80,
        "epoch": 80 // state["place"]["samples_per_epoch"],
        "samples_in_epoch": 80 % state["place"]["samples_per_epoch"],
        "samples_per_epoch": state["place"]["samples_per_epoch"],
        "seed": 0,
        "micro_step": 0,
        "causal_rows": 4,
        "masked_rows": 0,
    }
    assert state["world_size"] == len(state["random_states"]) == 1
    assert len(state["guard"]["accepted"]) == 20
    manifest = json.loads((newest(copied) / "manifest.json").read_text())
    assert manifest["world_size"] == 1
    assert manifest["made_with"]["torch"] == torch.__version__
    assert manifest["validation_loss"] == pytest.approx(
        state["callbacks"]["Monitor"]["metrics"]["validation/loss"]
    )


def test_random_generators_go_on_where_they_stood(tmp_path: Path) -> None:
    """Nothing here draws from them; a callback stands for whoever adds something that does."""
    import random

    import numpy as np

    shards = write_shards(tmp_path / "shards")
    drawn: dict[int, tuple[float, ...]] = {}

    def attempt(folder: Path, stop_at: int = 0) -> None:
        def on_metrics(step: int, _metrics: dict[str, float]) -> None:
            drawn[step] = (random.random(), float(np.random.rand()), float(torch.rand(())))
            if step == stop_at:
                raise Interrupted

        train(TINY, tiny_config(), shards, folder, on_metrics=on_metrics, identity=IDENTITY, progress=False)

    def seed() -> None:
        random.seed(3)
        np.random.seed(3)
        torch.manual_seed(3)

    seed()
    attempt(tmp_path / "whole")
    expected = dict(drawn)
    seed()
    with pytest.raises(Interrupted):
        attempt(tmp_path / "cut", stop_at=13)
    random.seed(99)
    torch.manual_seed(99)
    attempt(tmp_path / "cut")
    assert drawn == expected


def test_other_code_is_told_since_bits_may_differ(
    copied: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(newest(copied))
    monkeypatch.setattr(
        checkpoint_io, "made_with", lambda: {"torch": "0.1", "lightning": "0.2", "models": "0"}
    )
    run(copied / "shards", copied / "run")
    assert f"torch was {torch.__version__}, is 0.1" in caplog.text


@pytest.mark.parametrize("every", [1, 3])
def test_writing_in_the_background_changes_no_bit(
    trained: tuple[Path, str], tmp_path: Path, every: int
) -> None:
    shards = trained[0] / "shards"
    with watched(tmp_path / "run" / "checkpoints") as watch:
        result, _ = run(shards, tmp_path / "run", checkpoint_async=True, checkpoint_every=every)
    assert weights_digest(result) == trained[1]
    assert watch.without == 0
    plain, background = (load_state(newest(root)) for root in (trained[0], tmp_path))
    assert same_tensors(plain["optimizer_states"], background["optimizer_states"])
    again, seen = run(shards, tmp_path / "run")
    assert (again.resumed_from, seen) == (20, [])


def same_tensors(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same_tensors(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same_tensors, one, other))
    return bool(one == other)


def test_a_failure_in_the_background_ends_the_run_at_the_next_step(
    trained: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, steps = checkpoint_io.save_file, []

    def failing(weights: Any, path: Path, **options: Any) -> None:
        if "step-000000010" in str(path):
            raise OSError(28, "No space left on device")
        real(weights, path, **options)

    def on_metrics(step: int, _metrics: dict[str, float]) -> None:
        steps.append(step)
        for thread in threading.enumerate():  # what was begun in this step is done in this step
            if thread.name == "checkpoint-writer":
                thread.join()

    monkeypatch.setattr(checkpoint_io, "save_file", failing)
    config, shards, folder = tiny_config(checkpoint_async=True), trained[0] / "shards", tmp_path / "run"
    with pytest.raises(OSError, match="No space left"):
        train(TINY, config, shards, folder, on_metrics=on_metrics, identity=IDENTITY, progress=False)
    assert steps[-1] <= 11
    monkeypatch.undo()
    result, _ = run(shards, tmp_path / "run")
    assert result.resumed_from == 5
    assert weights_digest(result) == trained[1]


def test_at_no_moment_of_a_training_that_saves_each_step_is_there_no_checkpoint(
    trained: tuple[Path, str], tmp_path: Path
) -> None:
    with watched(tmp_path / "run" / "checkpoints") as watch:
        run(trained[0] / "shards", tmp_path / "run", checkpoint_every=1, steps=60)
    assert watch.looks > 30
    assert watch.without == 0


@pytest.mark.parametrize("background", [False, True])
def test_fine_tuning_keeps_its_place_too(tmp_path: Path, background: bool) -> None:
    whole, told = finetune(tmp_path / "whole")
    with pytest.raises(Interrupted):
        finetune(tmp_path / "cut", stop_at=9, checkpoint_async=background)
    state = load_state(checkpoint_path(tmp_path / "cut" / "checkpoints", 8))
    assert state["place"] == {
        "samples": 64, "epoch": 1, "samples_in_epoch": 16, "samples_per_epoch": 48, "seed": 0, "micro_step": 0,
    }  # fmt: skip
    result, rest = finetune(tmp_path / "cut", classifier(), checkpoint_async=background)
    assert result.resumed_from == 8
    assert [metrics["loss"] for _, metrics in rest] == [metrics["loss"] for _, metrics in told[8:]]
    assert same(result.head, whole.head)
