"""Training with several ranks, seen from the stage: start torchrun, follow its metrics, stop it, say what went wrong.

The ranks are processes of their own. Lightning would start them by running this very command again, flow and all.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from models.ranks import PARENT, TERMINATED
from tasks.durable import replace_atomically
from tasks.errors import UnveilError

if TYPE_CHECKING:
    from models.ranks import RankJob

GRACE_SECONDS = 25.0
"""From the wish to stop to the end of every rank; Kubernetes kills after 30 s unless told otherwise."""
_LOOK_SECONDS = 0.2
_ENTRY = "models.ranks"
_ROOT = Path(__file__).resolve().parent.parent


class RanksError(UnveilError):
    """A rank failed; the message names it."""


class WaitingForRanksError(UnveilError):
    """Somebody else has to start the ranks first (exit code 75, "try again later")."""

    exit_code = 75


def train_with_ranks(job: RankJob, number: int, follow: Callable[[], None]) -> None:
    """Have `job` trained by `number` ranks on this machine; its folder holds the last checkpoint afterwards.

    Args:
        job: what to train.
        number: how many ranks; 0 for one on each GPU.
        follow: called several times a second, to take up what rank 0 has appended to `job.metrics`.

    Raises:
        RanksError: a rank failed. What was saved stays, and a next attempt goes on from it.
        BaseException: whatever interrupted this process, after the ranks have saved and left.
    """
    folder = job.folder / "checkpoints" / "ranks"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    number = number or _gpus()
    written = write_job(job.model_copy(update={"meeting": folder / "meeting"}), folder / "job.json")
    process = subprocess.Popen(  # noqa: S603 - our own module, by the running interpreter
        [
            *(sys.executable, "-m", "models.rank_launcher", str(folder / "failures.json")),
            *_torchrun(number, folder, written),
        ],
        env=_environment(number),
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # an interrupt from the keyboard reaches the ranks through us, once
    )
    try:
        while process.poll() is None:
            time.sleep(_LOOK_SECONDS)
            follow()
        follow()
    finally:
        _end(process)
    if process.returncode != 0:
        raise _failure(folder / "failures.json", process.returncode)


def write_job(job: RankJob, path: Path) -> Path:
    """Write down what every rank reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_atomically(path, job.model_dump_json(indent=1) + "\n")
    return path


def ask_for_ranks(job: RankJob, number: int) -> WaitingForRanksError:
    """Prepare a training whose ranks a cluster starts; the error to raise tells what each node has to run."""
    path = write_job(job, job.folder / "checkpoints" / "job.json")
    ranks = f"--nproc-per-node {number or 'gpu'} -m models.ranks {shlex.quote(str(path))}"
    return WaitingForRanksError(
        "waits for ranks started elsewhere",
        stage="pretraining",
        remedy=f"run `python -m models.rank_launcher - {ranks}` with the cluster's rendezvous on every node "
        "(docs/clusters.md), then this command again",
    )


def _torchrun(number: int, folder: Path, job: Path) -> list[str]:
    """Ranks that meet through files: nothing listens to the network, and loopback carries what they exchange."""
    return [
        "--nnodes=1",
        f"--nproc-per-node={number}",
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint={folder / 'rendezvous'}",
        "--rdzv-conf=store_type=file",
        "--rdzv-id=unveil",
        "--local-addr=127.0.0.1",
        f"--log-dir={folder / 'log'}",
        f"--shutdown-timeout={GRACE_SECONDS - 3:.0f}",
        "--module",
        _ENTRY,
        str(job),
    ]


def _environment(number: int) -> dict[str, str]:
    loopback = next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), None)
    threads = max(1, len(os.sched_getaffinity(0)) // number) if hasattr(os, "sched_getaffinity") else 1
    path = os.pathsep.join(part for part in (str(_ROOT), os.environ.get("PYTHONPATH")) if part)
    # the last: a store that torchrun would offer to ranks, on all addresses; ours do not ask it
    own = {"OMP_NUM_THREADS": str(threads), "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    own |= {"GLOO_SOCKET_IFNAME": loopback, "NCCL_SOCKET_IFNAME": loopback} if loopback else {}
    return {**own, **os.environ, "PYTHONPATH": path, PARENT: str(os.getpid())}


def _gpus() -> int:
    import torch

    return max(1, torch.cuda.device_count())


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let the ranks save and leave; whatever interrupts this, too, ends them at once."""
    try:
        if process.poll() is None:
            process.terminate()
            process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        logging.getLogger(__name__).warning("ranks did not leave within %.0f s; killed", GRACE_SECONDS)
    finally:
        process.kill()  # and the ranks with it, which die with their parent
        process.wait()


def _failure(path: Path, status: int) -> RanksError:
    remedy = "run again to go on from the last checkpoint"
    if status == TERMINATED:
        return RanksError("the ranks were asked to stop from outside, and saved", remedy=remedy)
    if not path.exists():
        return RanksError(f"torchrun ended with status {status} without naming a rank", remedy=remedy)
    first, *others = json.loads(path.read_text(encoding="utf-8"))
    also = f" (and {len(others)} more)" if others and not others[0]["lost_others"] else ""
    return RanksError(f"rank {first['rank']}{also}: {first['cause']}", remedy=remedy)
