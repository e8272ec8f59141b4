"""torchrun, watched over by whoever started it: it ends with them, and tells in a file which rank failed and why.

    python -m models.rank_launcher FAILURES ARGUMENTS-OF-TORCHRUN...

FAILURES becomes a JSON list of `Failure`, the cause first. torchrun itself says it in forty lines of log, and would
leave the ranks behind if it were killed; they end with it because they ask to (`models.ranks.die_with`).
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from models.ranks import TERMINATED, die_with, lost_others


def main(arguments: list[str]) -> int:
    """Run torchrun; returns the exit status: 0 all ranks trained, 143 stopped on request, 1 a rank failed."""
    die_with(os.getppid())
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    logging.disable(logging.ERROR)  # what matters of it is told below
    failures, *rest = arguments
    try:
        torchrun(rest)
    except SignalException:
        return TERMINATED
    except ChildFailedError as error:
        found = [_described(rank, failure) for rank, failure in error.failures.items()]
        if all(failure["lost_others"] for failure in found):
            found += _silent(rest, error.failures)
        found.sort(key=lambda failure: (failure["lost_others"], failure["when"], failure["rank"]))
        Path(failures).write_text(json.dumps(found, indent=1), encoding="utf-8")
        return 1
    return 0


def _described(rank: int, failure: Any) -> dict[str, Any]:
    """One rank's end: what it said of itself, or the signal that ended it."""
    message = failure.message["message"] if isinstance(failure.message, dict) else str(failure.message)
    ended_by_torchrun = failure.exitcode in (-signal.SIGTERM, TERMINATED)
    if failure.exitcode < 0:
        name = signal.Signals(-failure.exitcode).name
        hint = ", likely out of memory or ended from outside" if name == "SIGKILL" else ""
        message = f"was killed ({name}{hint})"
    cause = message or f"ended with status {failure.exitcode} without a word"
    lost = ended_by_torchrun or lost_others(message)
    return {"rank": rank, "cause": cause, "when": failure.timestamp, "lost_others": lost}


def _silent(arguments: list[str], failed: Collection[int]) -> list[dict[str, Any]]:
    """Ranks that left no word, where the others only say that they waited: those that were waited for."""
    from torch.distributed.run import parse_args

    options = parse_args(arguments)
    spoke = {int(path.parent.name) for path in Path(options.log_dir).glob("*/attempt_0/*/error.json")}
    silent = set(range(int(options.nproc_per_node))) - spoke - set(failed)
    cause = "did not answer the other ranks"
    return [{"rank": rank, "cause": cause, "when": 0, "lost_others": False} for rank in sorted(silent)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
