"""Matrix rows 29 and 35: SIGKILL at each failpoint of the stages, and a signal that can be heard at one of them.

``python -m tests.flows.kill_points FOLDER [STAGE ...]``; all stages unless some are named.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from flows import signals
from tasks import failpoints, stages
from tests.flows import tiny_lifecycle as tiny

POINTS = ("open", "mid-write", "before-fsync", "before-manifest", "before-rename", "after-rename")
HEARD = ("SIGTERM", "SIGINT", "SIGHUP")


def attempt(home: Path, work: tiny.Work, point: str, name_of_signal: str = "SIGKILL") -> dict[str, Any]:
    """End the stage at a point, look at what is left, run it again, look again."""
    name, log = work[0].name, home.parent / "log"
    expected, others = tiny.content(home, name), tiny.others(home, name)
    tiny.forget(home, name)
    before, started = tiny.digests(*others), time.monotonic()

    def killed() -> None:
        os.environ[failpoints.VARIABLE] = f"{name}:{point}=signal:{name_of_signal}"
        with signals.listening():
            tiny.perform(work)

    code = tiny.child(killed, log)
    left = tiny.content(home, name)
    kept = tiny.digests(*others) == before
    again = tiny.child(lambda: tiny.perform(work), log)
    return {
        "stage": name,
        "point": point,
        "signal": name_of_signal,
        "code": code,
        "left": "whole" if left == expected else left,
        "kept": kept and tiny.digests(*others) == before,
        "again": again,
        "same": tiny.content(home, name) == expected,
        "hidden": tiny.hidden(home, name),
        "running": "RUNNING" in tiny.statuses(home),
        "seconds": round(time.monotonic() - started, 2),
    }


def law_holds(found: dict[str, Any]) -> bool:
    """Whether a killed attempt left what it has to leave."""
    left = "whole" if found["point"] == "after-rename" else "none"
    number = signal.Signals[found["signal"]]
    ended = (
        found["code"] == (-9 if number == signal.SIGKILL else 128 + number)
        and found["left"] == left
        and found["kept"]
    )
    return ended and found["again"] == 0 and found["same"] and not found["hidden"] and not found["running"]


def main() -> None:
    names = sys.argv[2:] or list(stages.NAMES)
    home, works = tiny.finished(Path(sys.argv[1]))
    found = []
    for number, name in enumerate(names):
        found += [attempt(home, works[name], point) for point in POINTS]
        found.append(attempt(home, works[name], "mid-write", HEARD[number % len(HEARD)]))
    killed = [entry for entry in found if entry["signal"] == "SIGKILL"]
    for what, entries in (("kill points", killed), ("other signals", [e for e in found if e not in killed])):
        sys.stderr.write(f"{sum(map(law_holds, entries))} of {len(entries)} {what}\n")
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
