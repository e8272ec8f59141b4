"""Eight processes that meet a fresh tracking database at once: ``python -m tests.tasks.tracking_race``."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

from mlflow.store.tracking import sqlalchemy_store  # noqa: F401 - loaded once, not once in each fork
from mlflow.tracking import MlflowClient  # noqa: F401

from tasks.metric_stream import log_step, streaming
from tasks.tracking import Tracker

PROCESSES = 8


def work(home: Path, number: int) -> None:
    os.chdir(home / "elsewhere" / str(number))
    tracker = Tracker(home)
    run_id = tracker.start(f"run {number}", tags={"unveil.run_id": f"r{number}"}, params={"number": number})
    child = tracker.start("stage", parent=run_id, tags={}, params={"x": 1})
    with streaming(tracker, child):
        for step in range(20):
            log_step(step, {"loss": 1.0 / (step + 1)})
    tracker.log_summary(child, {"rows": number}, {})
    tracker.finish(child, "completed")
    tracker.finish(run_id, "completed")


def main() -> None:
    home = Path(sys.argv[1])
    reading, writing = os.pipe()
    pids = []
    for number in range(PROCESSES):
        (home / "elsewhere" / str(number)).mkdir(parents=True)
        pids.append(os.fork())
        if pids[-1] == 0:
            os.close(writing)
            os.read(reading, 1)  # returns for all at once, when the parent closes its end
            try:
                work(home, number)
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
    os.close(writing)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    sys.exit(codes != [0] * PROCESSES)


if __name__ == "__main__":
    main()
