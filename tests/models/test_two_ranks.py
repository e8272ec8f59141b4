"""Two gloo ranks under torchrun: killed as a group they go on bit by bit, and they judge and stop alike."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from models import pretraining
from models.checkpoint import latest_valid, load_state, load_weights, read_manifest
from tests.models import faulty_training
from tests.models.processes import two_ranks
from tests.models.test_finetuning import Interrupted
from tests.models.tiny_training import run, write_shards

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
OPTIONS: dict[str, Any] = {
    "objective": "hybrid", "batch_size": 8, "gradient_accumulation": 2, "validate_every": 1000,
    "spike_window": 8, "spike_sigma": 20.0, "checkpoint_every": 4,
}  # fmt: skip
SPIKE = {"scale": {"14": 10.0}}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("two") / "shards")


class Group:
    """A training on two ranks, its whole group of processes, and what rank 0 tells."""

    def __init__(self, shards: Path, folder: Path, faults: dict[str, Any], **changes: Any) -> None:
        launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        given = [str(shards), str(folder), json.dumps(OPTIONS | changes), json.dumps(faults)]
        self.process = subprocess.Popen(
            [sys.executable, *launch, faulty_training.__file__, *given],
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.steps: dict[int, str] = {}
        self.digests: set[str] = set()

    def read(self, until: int = 0) -> None:
        """Take up what is told, to the end or until a step is."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            first, *rest = line.split()
            if first == "done":
                self.digests.add(rest[0])
                continue
            self.steps[int(first)] = " ".join(rest)
            if int(first) == until:
                return

    def kill(self) -> None:
        """End all of its processes at the same moment, as a machine that loses power does."""
        family = [self.process, *psutil.Process(self.process.pid).children(recursive=True)]
        for member in family:
            os.kill(member.pid, signal.SIGKILL)
        self.errors()

    def errors(self) -> str:
        """Wait for the end; what was said on standard error."""
        self.read()
        assert self.process.stderr is not None
        said = self.process.stderr.read()
        self.process.wait(timeout=60)
        return said


@pytest.fixture(scope="module")
def undisturbed(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Group:
    group = Group(shards, tmp_path_factory.mktemp("whole"), SPIKE)
    said = group.errors()
    assert group.process.returncode == 0, said
    return group


@pytest.fixture(scope="module")
def killed(
    shards: Path, undisturbed: Group, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[int, str]]:
    """A run that lost power twice, in a step that differs from time to time and while it saved step 16."""
    folder = tmp_path_factory.mktemp("killed")
    first = Group(shards, folder, SPIKE)
    first.read(until=2 + os.getpid() % 11)
    first.kill()
    second = Group(shards, folder, {**SPIKE, "kill_in_save": {"16": 1 + os.getpid() % 4}})
    second.errors()
    assert second.process.returncode == -signal.SIGKILL
    return folder, first.steps | second.steps


def test_killed_as_a_group_they_go_on_bit_by_bit(
    shards: Path, undisturbed: Group, killed: tuple[Path, dict[int, str]], tmp_path: Path
) -> None:
    """A spike is skipped on both ranks before the second kill, and the guard's window comes back too."""
    folder = Path(shutil.copytree(killed[0], tmp_path / "killed"))
    newest = latest_valid(folder / "checkpoints")
    assert newest is not None and read_manifest(newest)["world_size"] == 2
    assert len(load_state(newest)["random_states"]) == 2
    rest = Group(shards, folder, SPIKE)
    said = rest.errors()
    assert rest.process.returncode == 0, said
    assert sorted(rest.steps) == list(range(13, 21))
    assert killed[1] | rest.steps == undisturbed.steps
    assert rest.digests == undisturbed.digests
    assert len(rest.digests) == 1
    skipped = [undisturbed.steps[step].split()[1] for step in (13, 14, 20)]
    assert skipped == ["0", "1", "1"]


def test_one_rank_goes_on_where_two_were(
    shards: Path, undisturbed: Group, killed: tuple[Path, dict[int, str]], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    folder = Path(shutil.copytree(killed[0], tmp_path / "killed"))
    _, rest = _run_with_spike(monkeypatch, shards, folder)
    assert [int(step["step"]) for step in rest] == list(range(13, 21))
    _assert_close({int(step["step"]): step["loss"] for step in rest}, undisturbed)
    assert rest[-1]["skipped_steps"] == 1
    assert "going on with 1 rank(s) where 2 were" in caplog.text


def test_two_ranks_go_on_where_one_was(
    shards: Path, undisturbed: Group, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Interrupted):
        _run_with_spike(monkeypatch, shards, tmp_path / "run", stop_at=11)
    monkeypatch.undo()
    ranks = two_ranks(shards, tmp_path / "run", OPTIONS, SPIKE)
    assert [rank.status() for rank in ranks] == [0, 0]
    told = [line.split() for line in ranks[0].told if not line.startswith("done")]
    assert [int(step) for step, *_ in told] == list(range(9, 21))
    _assert_close({int(step): float.fromhex(loss) for step, loss, _ in told}, undisturbed)
    assert len({rank.told[-1] for rank in ranks}) == 1


def _run_with_spike(monkeypatch: pytest.MonkeyPatch, shards: Path, folder: Path, stop_at: int = 0) -> Any:
    """The same training with the same spike, on the one rank of this process."""
    real = pretraining.step_loss

    def spiking(*arguments: Any) -> Any:
        result, step = real(*arguments), arguments[2].step + 1
        if step == stop_at + 1 and stop_at:
            raise Interrupted
        return result._replace(loss=result.loss * SPIKE["scale"].get(str(step), 1.0))

    monkeypatch.setattr(pretraining, "step_loss", spiking)
    return run(shards, folder, **OPTIONS)


def _assert_close(losses: dict[int, float], undisturbed: Group) -> None:
    expected = {step: float.fromhex(text.split()[0]) for step, text in undisturbed.steps.items()}
    for step, loss in losses.items():
        assert loss == pytest.approx(expected[step], abs=1e-5), step


def test_a_gradient_that_is_not_finite_on_one_rank_stops_both_and_names_it(
    shards: Path, tmp_path: Path
) -> None:
    ranks = two_ranks(shards, tmp_path / "run", OPTIONS, {"gradient": {"7": 1}})
    assert [rank.status() for rank in ranks] == [1, 1]
    for rank in ranks:
        assert rank.told[-1].startswith("failed NonFiniteError: step 7: loss 4.")
        assert "gradient norm nan on rank 1; the weights were not updated" in rank.told[-1]
    assert "bad_batches.json names the documents" in ranks[0].told[-1]
    assert [line.split()[0] for line in ranks[0].told[:-1]] == list("123456")
    report = json.loads((tmp_path / "run" / "checkpoints" / "bad_batches.json").read_text())
    assert (report["step"], report["ranks"], len(report["documents"])) == (7, [1], 8)
    newest = latest_valid(tmp_path / "run" / "checkpoints")
    assert newest is not None and read_manifest(newest)["step"] == 4
    load_weights(newest)


@pytest.mark.parametrize("asked", [0, 1])
def test_one_rank_asked_to_stop_is_enough_and_both_save_the_same_step(
    shards: Path, tmp_path: Path, asked: int
) -> None:
    options = OPTIONS | {"steps": 2000, "checkpoint_every": 5000}
    ranks = two_ranks(shards, tmp_path / "run", options, {"pause": 0.02})
    ranks[0].await_step(5)
    since = time.monotonic()
    ranks[asked].send(signal.SIGTERM)
    assert [rank.status() for rank in ranks] == [143, 143]
    assert time.monotonic() - since < 25.0
    newest = latest_valid(tmp_path / "run" / "checkpoints")
    assert newest is not None and read_manifest(newest)["step"] == int(ranks[0].told[-1].split()[0])
