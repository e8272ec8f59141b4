"""Kill the smoke lifecycle at random moments until it completes: `python -m benchmarks.random_kills --kills 100`.

Every attempt is a fork of a process in which the libraries are loaded (and none is used: thread pools do not survive
a fork), so that a kill meets the pipeline and not the loading. Each completed lifecycle must have, stage by stage, the
content of one that nothing disturbed. A watcher looks every 10 ms whether a training that once had a valid checkpoint
still has one, or its finished model.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from scipy.stats import binomtest

from flows.lifecycle import compose
from flows.running import run_flow
from models.checkpoint import latest_valid
from tasks import stages
from tasks.artifacts import CHECKPOINTS, MANIFEST, verify

_LOADED = (
    "mlflow.tracking",
    "great_expectations",
    "gensim.models",
    "matplotlib.pyplot",
    "models.trainer",
    "models.export",
)
_PATIENCE = 40  # kills of one lifecycle after which it may finish
_LOOK_SECONDS = 0.01
_SHARE = 0.5  # a kill comes at a random moment of the first so much of an undisturbed lifecycle's time


@dataclass
class Tally:
    """What has happened so far."""

    kills: int = 0
    completions: int = 0
    failures: list[str] = field(default_factory=list)  # attempts that ended by themselves, and not well
    mismatches: list[str] = field(default_factory=list)


def main() -> None:
    """Print the kills, the completed lifecycles, how many had another content, and what the watcher saw."""
    parser = argparse.ArgumentParser(
        description="Kill the smoke lifecycle at random moments until it completes."
    )
    parser.add_argument("--kills", type=int, default=100, help="how many in all; default 100")
    parser.add_argument("--seed", type=int, default=0, help="of the moments; default 0")
    parser.add_argument(
        "--settings", type=json.loads, default={}, help="what to change in the preset, as JSON"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="unveil-kills-") as folder:
        tally, seen = measure(Path(folder), options.kills, random.Random(options.seed), options.settings)
    report(tally, seen)
    sys.exit(bool(tally.mismatches or tally.failures or seen["without"]))


def measure(
    folder: Path, kills: int, chance: random.Random, settings: Mapping[str, Any]
) -> tuple[Tally, dict[str, Any]]:
    """Make so many kills; returns what came of them and what the watcher saw."""
    for name in (*_LOADED, *(stage.core.partition(":")[0] for stage in stages.ALL)):
        importlib.import_module(name)
    started = time.monotonic()
    if _ended(_start(folder / "undisturbed", settings), None) != 0:
        raise RuntimeError((folder / "log").read_text(encoding="utf-8"))
    longest = _SHARE * (time.monotonic() - started)
    expected, tally = contents(folder / "undisturbed"), Tally()
    watcher = os.fork()
    if watcher == 0:
        try:
            os._exit(_watch(folder))
        finally:  # never back into this function's callers, which would tidy up after the process that goes on
            os._exit(1)
    while tally.kills < kills:
        _one_lifecycle(folder, kills, chance, longest, settings, expected, tally)
    (folder / "stop").touch()
    if os.waitpid(watcher, 0)[1]:
        raise RuntimeError("the watcher failed, so nothing is known of the moments in between")
    seen: dict[str, Any] = json.loads((folder / "seen.json").read_text(encoding="utf-8"))
    return tally, seen


def _one_lifecycle(
    folder: Path,
    kills: int,
    chance: random.Random,
    longest: float,
    settings: Mapping[str, Any],
    expected: Mapping[str, str],
    tally: Tally,
) -> None:
    """Start one lifecycle in a new workspace again and again until it completes, and compare it."""
    home, own = folder / f"home-{tally.completions}-{len(tally.failures)}", 0
    while True:
        patient = tally.kills == kills or own == _PATIENCE
        code = _ended(_start(home, settings), None if patient else chance.uniform(0.0, longest))
        if code != -signal.SIGKILL:
            break
        own, tally.kills = own + 1, tally.kills + 1
    if code != 0:
        tally.failures.append((folder / "log").read_text(encoding="utf-8").strip().splitlines()[-1])
    else:
        tally.completions += 1
        found = contents(home)
        tally.mismatches += [stage for stage in expected if found.get(stage) != expected[stage]]
    gone = home.rename(folder / f".{home.name}")  # in one instant, for the watcher
    shutil.rmtree(gone)


def contents(home: Path) -> dict[str, str]:
    """Content of each stage's artefact, every byte verified."""
    return {path.parent.name: verify(path).content for path in sorted(home.glob("artifacts/*/[!.]*"))}


def report(tally: Tally, seen: Mapping[str, Any]) -> None:
    """Print the table, mismatches with their exact 95 % interval (Clopper & Pearson 1934)."""
    print("| of | n | with another content | exact 95 % interval |")
    print("|---|---|---|---|")
    wrong = len(tally.mismatches) > 0
    for name, n in (("completed lifecycles", tally.completions), ("kills", tally.kills)):
        count = min(n, len(tally.mismatches)) if wrong else 0
        low, high = binomtest(count, n).proportion_ci(method="exact") if n else (0.0, 1.0)
        print(f"| {name} | {n} | {count} | {100 * low:.1f} to {100 * high:.1f} % |")
    print(
        f"\n{seen['looks']} looks at checkpoints, one every {seen['milliseconds']:.1f} ms at the median; "
        f"{seen['trainings']} trainings had a valid one, {len(seen['without'])} were seen without any after that"
    )
    for line in (*tally.mismatches, *tally.failures, *seen["without"]):
        print(line)


def _start(home: Path, settings: Mapping[str, Any]) -> int:
    """The lifecycle in a fork, without Prefect around it."""
    sys.stdout.flush()
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        log = os.open(home.parent / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ["UNVEIL_HOME"] = str(home)
        run_flow("lifecycle", compose, "smoke", settings)
        code = 0
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(code)


def _ended(process: int, seconds: float | None) -> int:
    """How an attempt ended, killed if it is still at work after so many seconds."""
    deadline = time.monotonic() + (float("inf") if seconds is None else seconds)
    while True:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= deadline:
            os.kill(process, signal.SIGKILL)  # our own child, not yet waited for
            return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        time.sleep(0.002)


def _watch(folder: Path) -> int:
    """Look until told to stop; note each training that had a valid checkpoint and was seen with none."""
    logging.disable(logging.CRITICAL)
    known: set[Path] = set()
    without: set[str] = set()
    times: list[float] = []
    while not (folder / "stop").exists():
        times.append(time.monotonic())
        for final in _trainings(folder):
            if _valid(final):
                known.add(final)
            elif final in known and str(final) not in without and _surely_without(final):
                without.add(str(final))
        time.sleep(_LOOK_SECONDS)
    gaps = sorted(later - one for one, later in pairwise(times)) or [0.0]
    seen = {"looks": len(times), "milliseconds": 1000 * gaps[len(gaps) // 2], "trainings": len(known)}
    (folder / "seen.json").write_text(json.dumps(seen | {"without": sorted(without)}), encoding="utf-8")
    return 0


def _trainings(folder: Path) -> set[Path]:
    """The final places of all artefacts that have, or had, checkpoints: told by the locks, which are never removed."""
    kinds = ("pretraining", "finetuning-*")
    found = [path for kind in kinds for path in folder.glob(f"home-*/artifacts/{kind}/.*.lock")]
    return {path.with_name(path.name[1:].removesuffix(".lock")) for path in found}


def _places(final: Path) -> tuple[Path, Path]:
    return final.with_name(f".{final.name}.partial") / CHECKPOINTS, final.with_name(
        f".{final.name}.{CHECKPOINTS}"
    )


def _valid(final: Path) -> bool:
    """Whether there is a valid checkpoint or the finished model; no, where one moved while it was looked at."""
    try:
        found = any(place.is_dir() and latest_valid(place) for place in _places(final))
    except OSError:
        return False
    return found or (final / MANIFEST).exists()


def _surely_without(final: Path) -> bool:
    """Whether there is none although nothing moved while we looked; a workspace that is removed does not count."""
    for _ in range(50):
        before = _listing(final)
        if _valid(final) or not final.parent.is_dir():
            return False
        if _listing(final) == before:
            return final.parent.is_dir()
    return False


def _listing(final: Path) -> list[str]:
    try:
        return sorted(str(path) for place in (*_places(final), final) for path in place.glob("*"))
    except OSError:  # it moved: no listing equals the next
        return [str(time.monotonic())]


if __name__ == "__main__":
    main()
