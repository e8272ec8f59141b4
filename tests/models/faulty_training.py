"""The run of `tiny_training` with faults put into chosen steps, alone or as a rank of torchrun.

PYTHONPATH=. python tests/models/faulty_training.py SHARDS FOLDER '{"steps": 20}' '{"scale": {"14": 10.0}}'

Faults, their steps counted from 1:
    scale           multiply the loss of a step
    gradient        {step: rank}: make that rank's own gradient NaN; the losses stay finite
    kill_in_save    {step: k}: when the step is saved, kill the whole group before the k-th fsync
    slow_save       seconds that every checkpoint takes longer
    pause           seconds that every step takes longer
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import torch

from models import checkpoint, checkpoint_files, pretraining
from models.trainer import train
from tests.models.tiny_training import IDENTITY, TINY, tiny_config, weights_digest

RANK = int(os.environ.get("RANK", "0"))


def put_in(faults: dict[str, Any]) -> None:
    """Patch this process so that the faults happen."""
    _into_losses(faults.get("scale", {}), faults.get("gradient", {}), faults.get("pause", 0.0))
    real_fill = checkpoint.VerifiedCheckpointIO._fill

    def fill(self: Any, folder: Path, weights: Any, state: Any) -> None:
        time.sleep(faults.get("slow_save", 0.0))
        deadly = faults.get("kill_in_save", {}).get(str(state["global_step"]))
        if deadly:
            _kill_at_sync(deadly)
        real_fill(self, folder, weights, state)

    checkpoint.VerifiedCheckpointIO._fill = fill  # type: ignore[method-assign]


def _into_losses(scale: dict[str, float], gradient: dict[str, int], pause: float) -> None:
    real = pretraining.step_loss

    def step_loss(*arguments: Any) -> Any:
        time.sleep(pause)
        result, step = real(*arguments), str(arguments[2].step + 1)
        loss = result.loss * scale.get(step, 1.0)
        if gradient.get(step) == RANK:
            loss.register_hook(lambda upstream: upstream * float("nan"))
        return result._replace(loss=loss)

    pretraining.step_loss = step_loss


def _kill_at_sync(count: int) -> None:
    left = [count]
    real = checkpoint_files.sync

    def sync(path: Path) -> None:
        left[0] -= 1
        if left[0] == 0:
            parent = psutil.Process(os.getppid())
            ranks = [child.pid for child in parent.children()] if "RANK" in os.environ else []
            for pid in [parent.pid, *(pid for pid in ranks if pid != os.getpid())] if ranks else []:
                os.kill(pid, signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
        real(path)

    checkpoint.sync = sync  # type: ignore[attr-defined]


def main(shards: Path, folder: Path, changes: dict[str, Any], faults: dict[str, Any]) -> None:
    """Train, and tell of every step on standard output as soon as it is done."""
    put_in(faults)

    def announce(step: int, metrics: dict[str, float]) -> None:
        sys.stdout.write(f"{step} {metrics['loss'].hex()} {metrics['skipped_steps']:.0f}\n")
        sys.stdout.flush()

    config = tiny_config(**changes)
    result = train(TINY, config, shards, folder, on_metrics=announce, progress=False, identity=IDENTITY)
    sys.stdout.write(f"done {weights_digest(result)} {torch.initial_seed()}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]), json.loads(sys.argv[4]))
