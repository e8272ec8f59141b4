"""A parent of ranks that a test can signal: python -m tests.tasks.launched JOB."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import FrameType

from models.ranks import RankJob
from tasks import launch


def terminate(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(143)


if __name__ == "__main__":
    launch._ENTRY = "tests.models.faulty_rank"
    signal.signal(signal.SIGTERM, terminate)
    job = RankJob.model_validate_json(Path(sys.argv[1]).read_text())
    launch.train_with_ranks(job, 2, lambda: None)
