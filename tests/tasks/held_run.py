"""A run that stays in the middle of a stage until it is told to go on: ``python -m tests.tasks.held_run``."""

from __future__ import annotations

import sys
from pathlib import Path

from tasks import runs
from tasks.metric_stream import log_step
from tests.tasks import toy


def hold(folder: Path) -> None:
    log_step(1, {"loss": 0.5})
    sys.stdout.write("working\n")
    sys.stdout.flush()
    if not sys.stdin.readline():
        raise SystemExit(1)


def main() -> None:
    word = sys.argv[1]
    with runs.running("flow", {"word": word}, preset="held") as run:
        sys.stdout.write(f"{run.run_id}\n")
        sys.stdout.flush()
        toy.hook.append(hold)
        toy.stage()(toy.ToyConfig(word=word))


if __name__ == "__main__":
    main()
