"""One rank of a training with several: what torchrun starts on every node, once for each process.

    torchrun --nproc-per-node 8 -m models.ranks CONFIG

CONFIG is the JSON of a `RankJob`. Standard output stays silent; rank 0 appends every step's metrics to `metrics`. The
main thread watches the one that trains: it passes on the wish to stop, ends the rank with whoever started it, and
says by name when the rank hangs. What went wrong is left where torchrun looks for it (`TORCHELASTIC_ERROR_FILE`).
"""

from __future__ import annotations

import ctypes
import json
import logging
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from models.budget import BudgetConfig
from models.config import ModelConfig
from models.ranks_config import RanksConfig
from models.training_config import TrainingConfig

if TYPE_CHECKING:
    from torch import Tensor

    from models.rank_watch import RankWatch

TERMINATED = 143
STOP_SECONDS = 20.0
"""How long a rank that was asked to stop may take to end its step and save."""
PARENT = "UNVEIL_PARENT"
"""The variable by which a starter tells its process id: it may be gone before it could be asked for."""
_ASIDE_SECONDS = 5.0  # for which a rank that waited in vain lets the one it waited for be named first
_FIRST_STEP_SECONDS = 300.0
_LOOK_SECONDS = 0.1
_PR_SET_PDEATHSIG = 1
_WAITED = "waited in vain for other ranks"


class RankJob(BaseModel):
    """What to train: the arguments of `models.trainer.train`, as a file that every rank reads."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: ModelConfig = Field(description="The network's shape.")
    training: TrainingConfig = Field(description="Everything else that decides the result.")
    ranks: RanksConfig = Field(description="How ranks share the work.")
    shards: Path = Field(description="The folder of token shards.")
    folder: Path = Field(description="Where checkpoints go.")
    metrics: Path = Field(description="Where rank 0 appends a line of JSON for each step.")
    identity: dict[str, str] = Field(description="What else tells this run from others.")
    split: str = Field("train", description="The shard to learn from.")
    initial: Path | None = Field(None, description="A Hugging Face folder of weights to begin with.")
    budget: BudgetConfig = Field(
        BudgetConfig(), description="What the training may take, all attempts together."
    )
    meeting: Path | None = Field(
        None, description="A file by which ranks of one machine meet; without it, they meet as torchrun says."
    )


def main(arguments: list[str]) -> int:
    """Be one rank; returns the exit status: 0 trained, 143 stopped after a checkpoint, 1 anything else."""
    die_with_parent()
    logging.basicConfig(format=f"rank {_number('RANK', 0)}: %(message)s", level=logging.WARNING)
    job = RankJob.model_validate_json(Path(arguments[0]).read_text(encoding="utf-8"))
    from torch.distributed.elastic.multiprocessing.errors import get_error_handler

    from models.rank_watch import RanksError, RankWatch

    errors, watch, failures = get_error_handler(), RankWatch(), list[BaseException]()
    errors.initialize()
    signal.signal(signal.SIGTERM, lambda *_: _stop(watch))
    thread = threading.Thread(target=_train, args=(job, watch, failures), daemon=True)
    thread.start()
    stalled = _attend(thread, watch, job.ranks.timeout_seconds)
    if stalled:
        failures = [RanksError(stalled)]
    if not failures:
        return TERMINATED if thread.is_alive() else 0
    if isinstance(failures[0], SystemExit):
        return int(failures[0].code or 0)
    errors.record_exception(failures[0])
    if lost_others(f"{type(failures[0]).__name__}: {failures[0]}"):
        time.sleep(_ASIDE_SECONDS)  # the rank that was waited for is the one to be found dead first
    return 1


def lost_others(message: str) -> bool:
    """Whether an error says that other ranks did not answer, rather than that something is wrong with this one."""
    signs = ("gloo/transport", "DistBackendError", "DistNetworkError")
    return waited_in_vain(message) or any(sign in message for sign in signs)


def waited_in_vain(message: str) -> bool:
    """Whether an error says that another rank did not answer for `timeout_seconds`."""
    return _WAITED in message


def die_with_parent() -> None:
    """Have the kernel end this process when the one that started it is gone; elsewhere than on Linux, see `_attend`."""
    parent = int(os.environ.get(PARENT, os.getppid()))
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _attend(thread: threading.Thread, watch: RankWatch, timeout: float) -> str:
    """Wait for the training; returns why it has to be given up, or nothing when it ended or was told to stop."""
    parent, asked = os.getppid(), math.inf
    while thread.is_alive():
        thread.join(_LOOK_SECONDS)
        now = time.monotonic()
        if os.getppid() != parent:
            os._exit(1)
        if watch.asked_to_stop.is_set():
            asked = min(asked, now)
            if now - asked > STOP_SECONDS:
                return ""
        if watch.silent_for > (timeout if watch.steps_began else max(timeout, _FIRST_STEP_SECONDS)):
            place, waits = watch.whereabouts()
            silent = f"{watch.silent_for:.0f} s"
            return f"{_WAITED} for {silent}" if waits else f"made no progress for {silent}, {place}"
    return ""


def _stop(watch: RankWatch) -> None:
    if watch.asked_to_stop.is_set():
        os._exit(TERMINATED)
    watch.ask_to_stop()


def _train(job: RankJob, watch: RankWatch, failures: list[BaseException]) -> None:
    from models.trainer import train

    try:
        _meet(job)
        train(
            job.model,
            job.training,
            job.shards,
            job.folder,
            on_metrics=lambda step, values: append_metrics(job.metrics, step, values),
            identity=job.identity,
            initial=None if job.initial is None else _weights(job.initial),
            split=job.split,
            progress=False,
            ranks=job.ranks,
            watch=watch,
            budget=job.budget,
        )
    except BaseException as error:  # told by the main thread
        failures.append(error)


def append_metrics(path: Path, step: int, values: Mapping[str, float]) -> None:
    """Add one step's metrics to a file of JSON lines."""
    with path.open("a", encoding="utf-8") as handle:
        handle.write(json.dumps([step, dict(values)]) + "\n")


def _weights(folder: Path) -> Mapping[str, Tensor]:
    from models.export import load_pretrained

    return load_pretrained(folder).state_dict()


def _meet(job: RankJob) -> None:
    """Let ranks of one machine find each other by a file: a store of torchrun's listens to the whole network."""
    if job.meeting is None:
        return
    import torch
    from torch import distributed
    from torch.distributed import FileStore  # type: ignore[attr-defined]

    backend: Literal["nccl", "gloo"] = "nccl" if torch.cuda.is_available() else "gloo"
    if backend == "nccl":
        torch.cuda.set_device(_number("LOCAL_RANK", 0))
    ranks = _number("WORLD_SIZE", 1)
    distributed.init_process_group(
        backend,
        store=FileStore(str(job.meeting), ranks),
        rank=_number("RANK", 0),
        world_size=ranks,
        timeout=timedelta(seconds=max(job.ranks.timeout_seconds, _FIRST_STEP_SECONDS) + 60.0),
    )


def _number(name: str, otherwise: int) -> int:
    return int(os.environ.get(name, otherwise))


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(status)  # a training thread that hangs, and libraries' own threads, are not waited for
