"""Matrix row 29: SIGKILL at the failpoints of the stages: ``python -m tests.flows.kill_points FOLDER [STAGE ...]``."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from tasks import failpoints, stages
from tests.flows import tiny_lifecycle as tiny

POINTS = ("open", "mid-write", "before-fsync", "before-manifest", "before-rename", "after-rename")


def attempt(home: Path, work: tiny.Work, point: str) -> dict[str, Any]:
    """Kill the stage at a point, look at what is left, run it again, look again."""
    name, log = work[0].name, home.parent / "log"
    expected, others = tiny.content(home, name), tiny.others(home, name)
    tiny.forget(home, name)
    before, started = tiny.digests(*others), time.monotonic()

    def killed() -> None:
        os.environ[failpoints.VARIABLE] = f"{name}:{point}=kill"
        tiny.perform(work)

    code = tiny.child(killed, log)
    left = tiny.content(home, name)
    kept = tiny.digests(*others) == before
    again = tiny.child(lambda: tiny.perform(work), log)
    return {
        "stage": name,
        "point": point,
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
    ended = found["code"] == -9 and found["left"] == left and found["kept"]
    return ended and found["again"] == 0 and found["same"] and not found["hidden"] and not found["running"]


def main() -> None:
    names = sys.argv[2:] or list(stages.NAMES)
    home, works = tiny.finished(Path(sys.argv[1]))
    found = [attempt(home, works[name], point) for name in names for point in POINTS]
    good = sum(map(law_holds, found))
    sys.stderr.write(f"{good} of {len(found)} kill points\n")
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
