"""Several ranks on this machine: what they learn, what ends them, and how it is told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from models.rank_launcher import described
from models.ranks import RankJob, append_metrics
from models.ranks_config import RanksConfig
from models.trainer import train
from tasks import launch
from tests.models.tiny_training import IDENTITY, TINY, run, tiny_config, weights_digest, write_shards

ROOT = Path(__file__).parents[2]
OPTIONS: dict[str, Any] = {"objective": "hybrid", "batch_size": 8, "gradient_accumulation": 2}


def job_in(folder: Path, shards: Path, strategy: str = "ddp", **changes: Any) -> RankJob:
    return RankJob(
        model=TINY,
        training=tiny_config(**(OPTIONS | changes)),
        ranks=RanksConfig.model_validate({"number": 2, "strategy": strategy, "timeout_seconds": 10}),
        shards=shards,
        folder=folder,
        metrics=folder / "checkpoints" / "metrics.jsonl",
        identity=IDENTITY,
    )


def losses(job: RankJob) -> dict[int, str]:
    """Every step's loss, to the last bit; one that was told again must be told the same."""
    found: dict[int, str] = {}
    for line in job.metrics.read_text(encoding="utf-8").splitlines():
        step, values = json.loads(line)
        assert found.setdefault(step, values["loss"].hex()) == values["loss"].hex()
    return found


def children_of(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def started(
    job: RankJob, step: int, **environment: str
) -> tuple[subprocess.Popen[bytes], list[psutil.Process]]:
    """A parent with two slow ranks that have done `step` steps, and all the processes below it."""
    path = launch.write_job(job, job.folder.parent / f"{job.folder.name}.json")
    parent = subprocess.Popen(
        [sys.executable, "-m", "tests.tasks.launched", str(path)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "FAULT": '{"how": "slow"}', **environment},
        cwd=ROOT,
    )
    until = time.monotonic() + 180
    while not job.metrics.exists() or max(losses(job), default=0) < step:
        assert parent.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    found = children_of(parent.pid)
    assert sum("RANK" in process.environ() for process in found) == 2
    listening = [
        place for process in found for place in process.net_connections() if place.status == "LISTEN"
    ]
    assert {place.laddr.ip for place in listening} == {"127.0.0.1"}
    return parent, found


def gone(processes: list[psutil.Process], seconds: float) -> bool:
    return not psutil.wait_procs(processes, timeout=seconds)[1]


@pytest.mark.slow
def test_a_rank_that_dies_raises_or_hangs_ends_all_is_named_and_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = write_shards(tmp_path / "shards")
    undisturbed, job = job_in(tmp_path / "undisturbed", shards), job_in(tmp_path / "run", shards)
    launch.train_with_ranks(undisturbed, 2, lambda: None)
    monkeypatch.setattr(launch, "_ENTRY", "tests.models.faulty_rank")
    told = {
        "kill": r"^rank 1: was killed \(SIGKILL",
        "raise": r"^rank 1: ValueError: the dog ate this rank's batch; run again",
        "sleep": r"^rank 1: .*no progress for 1\d s, in step_loss \(faulty_rank\.py:\d+\)",
    }
    for step, (how, message) in zip((7, 11, 17), told.items(), strict=True):
        monkeypatch.setenv("FAULT", json.dumps({"rank": 1, "step": step, "how": how}))
        at_fault: list[float] = []

        def follow(step: int = step, at_fault: list[float] = at_fault) -> None:
            if not at_fault and job.metrics.exists() and max(losses(job), default=0) >= step:
                at_fault.append(time.monotonic())

        with pytest.raises(launch.RanksError, match=message):
            launch.train_with_ranks(job, 2, follow)
        assert time.monotonic() - at_fault[0] < 60
        assert children_of(os.getpid()) == []
    monkeypatch.delenv("FAULT")
    launch.train_with_ranks(job, 2, lambda: None)
    assert losses(job) == losses(undisturbed)
    assert weights_digest(run(shards, job.folder, **OPTIONS)[0]) == weights_digest(
        run(shards, undisturbed.folder, **OPTIONS)[0]
    )


@pytest.mark.slow
def test_sharded_ranks_stop_with_their_parent_and_go_on_to_the_same_weights(tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "shards")
    undisturbed = job_in(tmp_path / "undisturbed", shards, "fsdp", checkpoint_every=4)
    job = job_in(tmp_path / "run", shards, "fsdp", checkpoint_every=4)
    launch.train_with_ranks(undisturbed, 2, lambda: None)

    parent, below = started(job, 6)
    asked = time.monotonic()
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(timeout=40) == 143
    assert time.monotonic() - asked < launch.GRACE_SECONDS
    assert gone(below, 1)
    saved = max(int(path.name[5:]) for path in (job.folder / "checkpoints").glob("step-*"))
    assert saved == max(losses(job)) >= 6  # every rank after the same step, and nothing lost

    parent, below = started(job, 14)
    parent.kill()
    assert gone(below, 5)

    parent, below = started(job, max(losses(job)) + 1)
    parent.send_signal(signal.SIGTERM)
    parent.send_signal(signal.SIGTERM)
    parent.wait(timeout=10)
    assert gone(below, 5)

    launch.train_with_ranks(job, 2, lambda: None)
    assert losses(job) == losses(undisturbed)
    alone, seen = run(shards, tmp_path / "alone", **OPTIONS)
    assert [float.fromhex(loss) for _, loss in sorted(losses(job).items())] == pytest.approx(
        [step["loss"] for step in seen], abs=1e-5
    )
    result, _ = run(shards, job.folder, checkpoint_every=4, **OPTIONS)
    assert weights_digest(result) == weights_digest(run(shards, undisturbed.folder, **OPTIONS)[0])
    for one, other in zip(result.model.parameters(), alone.model.parameters(), strict=True):
        assert (one - other).abs().max() < 1e-5


@pytest.mark.slow
def test_one_rank_goes_on_where_two_sharded_ones_stood_and_the_other_way(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shards = write_shards(tmp_path / "shards")
    _, seen = run(shards, tmp_path / "alone", **OPTIONS)
    expected = [step["loss"] for step in seen]
    job = job_in(tmp_path / "run", shards, "fsdp")
    with pytest.raises(InterruptedError):
        _interrupted_at(12, job)
    launch.train_with_ranks(job, 2, lambda: None)
    found = [float.fromhex(loss) for _, loss in sorted(losses(job).items())]
    assert sorted(losses(job)) == list(range(11, 21))
    assert found == pytest.approx(expected[10:], abs=1e-5)

    newest = job.folder / "checkpoints" / "step-000000020"
    rows = newest / "rows-00001-of-00002.safetensors"
    content = bytearray(rows.read_bytes())
    content[-7] ^= 1
    rows.write_bytes(content)
    result, rest = run(shards, job.folder, **OPTIONS)
    assert result.resumed_from == 15 and str(rows) in caplog.text
    assert [step["loss"] for step in rest] == pytest.approx(expected[15:], abs=1e-5)


def _interrupted_at(step: int, job: RankJob) -> None:
    def interrupt(done: int, _: dict[str, float]) -> None:
        if done == step:
            raise InterruptedError

    train(TINY, job.training, job.shards, job.folder, on_metrics=interrupt, identity=IDENTITY, progress=False)


class Ended:
    """What torchrun tells of a rank."""

    def __init__(self, exitcode: int, said: str = "", when: int = 0) -> None:
        self.exitcode, self.timestamp = exitcode, when
        self.message = {"message": said} if said else "To enable traceback see: ..."


@pytest.mark.parametrize(
    ("ranks", "culprit", "cause"),
    [
        ({0: Ended(1, "RuntimeError: [gloo/transport/x] closed"), 1: Ended(-9)}, 1, "was killed (SIGKILL"),
        (
            {0: Ended(1, "RanksError: waited in vain for other ranks for 9 s"), 1: Ended(-9)},
            1,
            "did not answer",
        ),
        ({0: Ended(-15), 1: Ended(1, "ValueError: odd\nlines")}, 1, "ValueError: odd lines"),
        ({0: Ended(143), 1: Ended(-11)}, 1, "was ended by SIGSEGV"),
        ({0: Ended(1, "ValueError: a", 7), 1: Ended(1, "ValueError: b", 5)}, 1, "ValueError: b"),
    ],
)
def test_the_rank_at_fault_is_named_first(ranks: dict[int, Any], culprit: int, cause: str) -> None:
    first = described(ranks)[0]
    assert first["rank"] == culprit
    assert first["cause"].startswith(cause)


def test_a_launcher_that_says_nothing_is_told_as_such(tmp_path: Path) -> None:
    assert "ended with status 9 without naming a rank" in str(launch._failure(tmp_path / "none.json", 9))


def test_metrics_are_lines_of_json(tmp_path: Path) -> None:
    append_metrics(tmp_path / "m.jsonl", 3, {"loss": 1.5})
    assert json.loads((tmp_path / "m.jsonl").read_text()) == [3, {"loss": 1.5}]
