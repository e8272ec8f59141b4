"""torchrun, watched over by whoever started it: it ends with them, and tells in a file which rank failed and why.

    python -m models.rank_launcher FAILURES ARGUMENTS-OF-TORCHRUN...

FAILURES becomes a JSON list (`described`), the cause first; `-` has the cause said on standard error. torchrun itself
says it in forty lines of log, and would leave the ranks behind if it were killed; they end with it because they ask
to (`models.ranks.die_with_parent`).
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.ranks import PARENT, TERMINATED, die_with_parent, lost_others, waited_in_vain


def main(arguments: list[str]) -> int:
    """Run torchrun; returns the exit status: 0 all ranks trained, 143 stopped on request, 1 a rank failed."""
    die_with_parent()
    os.environ[PARENT] = str(os.getpid())
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
        if all(failure.exitcode == TERMINATED for failure in error.failures.values()):
            return TERMINATED
        _tell(described(error.failures), failures)
        return 1
    return 0


def _tell(found: list[dict[str, Any]], where: str) -> None:
    if where == "-":
        sys.stderr.write(f"rank {found[0]['rank']}: {found[0]['cause']}\n")
    else:
        Path(where).write_text(json.dumps(found, indent=1), encoding="utf-8")


def described(failures: Mapping[int, Any]) -> list[dict[str, Any]]:
    """Every rank's end, the cause first: what it said of itself, or the signal that ended it."""
    messages = {rank: _message(failure) for rank, failure in failures.items()}
    waited = any(waited_in_vain(message) for message in messages.values())
    found = []
    for rank, failure in failures.items():
        # torchrun ends the others when one has failed; who was not to be ended so is who they waited for
        ended = failure.exitcode in (-signal.SIGTERM, TERMINATED)
        cause = messages[rank] or _silent_end(failure.exitcode, waited)
        found.append(
            {
                "rank": rank,
                "cause": cause,
                "when": failure.timestamp,
                "lost_others": ended or lost_others(cause),
            }
        )
    return sorted(found, key=lambda failure: (failure["lost_others"], failure["when"], failure["rank"]))


def _message(failure: Any) -> str:
    """What a rank said itself; torchrun has words of its own for one that said nothing."""
    said = failure.message["message"] if isinstance(failure.message, dict) else ""
    return " ".join(str(said).split())


def _silent_end(status: int, waited: bool) -> str:
    if status == -signal.SIGKILL and waited:
        return "did not answer the other ranks, nor the wish to stop"
    if status == -signal.SIGKILL:
        return "was killed (SIGKILL: out of memory, or from outside)"
    return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
