"""Matrix rows 30 to 34 over real stages: ``python -m tests.flows.shortages FOLDER WHAT:STAGE,STAGE ...``.

The folder holds a finished tiny workspace. Every attempt runs one stage in a fork, and is followed by one that
nothing disturbs. ``full`` mounts, and so needs a mount namespace of its own (``unshare -m``, as root).
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tasks import failpoints, stages
from tests.flows import tiny_lifecycle as tiny
from tests.tasks import toy

ERRORS = ("EIO", "ENOSPC", "EDQUOT", "EROFS")
LASTING = ("ENOSPC", "EROFS")  # every write from the k-th on fails; of the others, the k-th alone
NOBODY = 65534
Attempt = Callable[[], object]


def attempt(home: Path, work: tiny.Work, disturbed: Attempt, expected: str) -> dict[str, Any]:
    """What the disturbed attempt ended with, what it said, and what it left and touched."""
    name, log, others = work[0].name, home.parent / "log", tiny.others(home, work[0].name)
    before = tiny.digests(*others)
    code = tiny.child(disturbed, log)
    said = log.read_text(errors="replace").strip().splitlines() or [""]
    left = tiny.content(home, name)
    return {
        "stage": name,
        "code": code,
        "said": said[-1],
        "left": "whole" if left == expected else left,
        "hidden": tiny.hidden(home, name),
        "kept": tiny.digests(*others) == before,
    }


def again(home: Path, work: tiny.Work, expected: str) -> bool:
    """Whether an undisturbed attempt gives what an undisturbed workspace has."""
    code = tiny.child(lambda: tiny.perform(work), home.parent / "log")
    return code == 0 and tiny.content(home, work[0].name) == expected


def kth_writes(error: str, home: Path, work: tiny.Work) -> list[dict[str, Any]]:
    """The k-th point of the writing fails, for k = 1, 2, 3 and on until an attempt goes through."""
    name, expected, found = work[0].name, tiny.content(home, work[0].name), []
    for k in range(1, 1000):
        tiny.forget(home, name)
        armed = f"{name}:*@{k}{'+' if error in LASTING else ''}=errno:{error}"

        def disturbed(armed: str = armed) -> None:
            run = tiny.opened()
            failpoints.arm(armed)
            work[0].ensure(run, work[1], work[2])

        found.append(attempt(home, work, disturbed, expected) | {"error": error, "k": k})
        if found[-1]["code"] == 0:
            break
    found[-1]["same"] = tiny.content(home, name) == expected
    tiny.forget(home, name)
    found[-1]["again"] = again(home, work, expected)
    return found


def limited(home: Path, work: tiny.Work) -> list[dict[str, Any]]:
    """No file may grow beyond so many bytes: real writes, also those of Rust and C++, fail half-way."""
    name, expected = work[0].name, tiny.content(home, work[0].name)
    largest = max(path.stat().st_size for path in tiny.folder_of(home, name).rglob("*") if path.is_file())
    found = []
    for limit in (1000, largest // 2, largest - 1):
        tiny.forget(home, name)
        run = tiny.opened()

        def disturbed(limit: int = limit, run: Any = run) -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            work[0].ensure(run, work[1], work[2])

        found.append(attempt(home, work, disturbed, expected) | {"limit": limit})
    found[-1]["again"] = again(home, work, expected)
    return found


def full(home: Path, work: tiny.Work) -> list[dict[str, Any]]:
    """The stage's folder lies on a file system of 3 MB with so much room left."""
    name, expected = work[0].name, tiny.content(home, work[0].name)
    needed = sum(path.stat().st_size for path in tiny.folder_of(home, name).rglob("*") if path.is_file())
    stage, found = home / "artifacts" / name, []
    for room in (0, needed // 3, needed * 9 // 10, needed * 5 // 2 if name == "pretraining" else 4096):
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(stage)], check=True)
        try:
            (stage / ".filler.lock").write_bytes(bytes((3 << 20) - room // 4096 * 4096))
            run = tiny.opened()

            def disturbed(run: Any = run) -> None:
                work[0].ensure(run, work[1], work[2])

            found.append(attempt(home, work, disturbed, expected) | {"room": room})
            (stage / ".filler.lock").unlink()
            found[-1]["again"] = again(home, work, expected)
        finally:
            subprocess.run(["umount", str(stage)], check=True)
    return found


def unwritable(home: Path, work: tiny.Work) -> list[dict[str, Any]]:
    """The stage runs as nobody, who may write nowhere, or everywhere but where a training keeps its checkpoints."""
    name, expected = work[0].name, tiny.content(home, work[0].name)
    stage, found = home / "artifacts" / name, []

    def disturbed() -> None:
        run = tiny.opened()
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        work[0].ensure(run, work[1], work[2])

    tiny.forget(home, name)
    found.append(attempt(home, work, disturbed, expected))
    found[-1]["again"] = again(home, work, expected)
    if name != "pretraining":
        return found
    partial = next(stage.glob("[!.]*"))
    partial = stage / f".{partial.name}.partial"
    tiny.forget(home, name)
    (partial / "checkpoints").mkdir(parents=True)
    for path in (stage, partial, *stage.glob(".*.lock")):
        os.chown(path, NOBODY, NOBODY)
    found.append(attempt(home, work, disturbed, expected))
    for path in (stage, partial):
        os.chown(path, 0, 0)
    found[-1]["again"] = again(home, work, expected)
    return found


def memory(home: Path, work: tiny.Work) -> list[dict[str, Any]]:
    """The process may take so much more memory than it has when the stage begins, and no more."""
    name, expected, found = work[0].name, tiny.content(home, work[0].name), []
    for more in (2 << 20, 12 << 20):
        tiny.forget(home, name)

        def disturbed(more: int = more) -> None:
            run = tiny.opened()
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            limit = pages * resource.getpagesize() + more
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            work[0].ensure(run, work[1], work[2])

        found.append(attempt(home, work, disturbed, expected) | {"more": more})
    found[-1]["again"] = again(home, work, expected)
    return found


def scratch(home: Path, work: tiny.Work) -> list[dict[str, Any]]:
    """The lifecycle up to a stage with $TMPDIR on another device, on a full one, and missing; in new workspaces."""
    folder, until = home.parent, work[0].name
    full, found = folder / "full", []
    full.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(full)], check=True)
    (full / "filler").write_bytes(bytes(4096))
    with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
        places = {"full": str(full), "missing": str(folder / "nowhere"), "elsewhere": elsewhere}
        for name, place in places.items():
            other, strays = folder / f"scratch-{name}", folder / "strays"
            strays.write_text("")

            def run(place: str = place, other: Path = other, strays: Path = strays) -> None:
                os.environ["TMPDIR"], tempfile.tempdir = place, None
                sys.addaudithook(partial(_note_strays, folder, strays))
                tiny.lifecycle(other, until=until)

            code = tiny.child(run, folder / "log")
            same = {p.name for p in (other / "artifacts").iterdir()} == {
                stage
                for stage in stages_until(until)
                if tiny.content(other, stage) == tiny.content(home, stage)
            }
            left = sorted(path.name for path in Path(place).glob("*"))
            found.append(
                {"tmpdir": name, "code": code, "same": same, "left": left, "strays": strays.read_text()}
            )
            shutil.rmtree(other)
    subprocess.run(["umount", str(full)], check=True)
    return found


def stages_until(last: str) -> tuple[str, ...]:
    """Names of the stages up to one."""
    return stages.NAMES[: stages.NAMES.index(last) + 1]


def _note_strays(folder: Path, strays: Path, event: str, args: tuple[Any, ...]) -> None:
    """Note what is opened for writing, or made, outside a folder."""
    writing = (
        event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    )
    if writing or event in ("os.mkdir", "tempfile.mkstemp", "tempfile.mkdtemp"):
        path = os.fsdecode(args[0]) if isinstance(args[0], str | bytes | os.PathLike) else ""
        above = event == "os.mkdir" and str(folder).startswith(path)  # there already
        if os.path.isabs(path) and not above and not path.startswith((str(folder), "/dev/null", "/proc/")):
            toy.note(strays, f"{event} {path}")


SWEEPS = {
    **{f"writes-{error}": partial(kth_writes, error) for error in ERRORS},
    "limited": limited,
    "full": full,
    "unwritable": unwritable,
    "memory": memory,
    "scratch": scratch,
}


def main() -> None:
    home, works = tiny.finished(Path(sys.argv[1]))
    outcome: dict[str, list[dict[str, Any]]] = {}
    for asked in sys.argv[2:]:
        what, _, names = asked.partition(":")
        outcome[what] = [entry for name in names.split(",") for entry in SWEEPS[what](home, works[name])]
    sys.stdout.write(json.dumps(outcome))


if __name__ == "__main__":
    main()
