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

from models import checkpoint_io, pretraining
from models.trainer import train
from tests.models.tiny_training import IDENTITY, TINY, tiny_config, weights_digest


def put_in(faults: dict[str, Any]) -> None:
    """Patch this process so that the faults happen."""
    _into_losses(faults.get("scale", {}), faults.get("gradient", {}), faults.get("pause", 0.0))
    real_fill = checkpoint_io.VerifiedCheckpointIO._fill

    def fill(self: Any, folder: Path, weights: Any, state: Any) -> None:
        time.sleep(faults.get("slow_save", 0.0))
        deadly = faults.get("kill_in_save", {}).get(str(state["global_step"]))
        if deadly:
            _kill_at_sync(deadly)
        real_fill(self, folder, weights, state)

    checkpoint_io.VerifiedCheckpointIO._fill = fill  # type: ignore[method-assign]


def _into_losses(scale: dict[str, float], gradient: dict[str, int], pause: float) -> None:
    real = pretraining.step_loss

    def step_loss(*arguments: Any) -> Any:
        time.sleep(pause)
        result, step = real(*arguments), str(arguments[2].step + 1)
        loss = result.loss * scale.get(step, 1.0)
        if gradient.get(step) == int(os.environ.get("RANK", "0")):
            loss.register_hook(lambda upstream: upstream * float("nan"))
        return result._replace(loss=loss)

    pretraining.step_loss = step_loss


def _kill_at_sync(count: int) -> None:
    left = [count]
    real = os.fsync

    def fsync(descriptor: int) -> None:
        left[0] -= 1
        if left[0] == 0:
            _kill_all()
        real(descriptor)

    os.fsync = fsync


def _kill_all() -> None:
    """Kill this process last, after torchrun and the other ranks if there are any."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        parent = psutil.Process(os.getppid())
        others = [child.pid for child in parent.children() if child.pid != os.getpid()]
        for pid in (parent.pid, *others):
            os.kill(pid, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def main(shards: Path, folder: Path, changes: dict[str, Any], faults: dict[str, Any]) -> None:
    """Train, and tell of every step on standard output as soon as it is done."""
    put_in(faults)

    def announce(step: int, metrics: dict[str, float]) -> None:
        sys.stdout.write(f"{step} {metrics['loss'].hex()} {metrics['skipped_steps']:.0f}\n")
        sys.stdout.flush()

    config = tiny_config(**changes)
    result = train(TINY, config, shards, folder, on_metrics=announce, progress=False, identity=IDENTITY)
    sys.stdout.write(f"done {weights_digest(result)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]), json.loads(sys.argv[4]))
