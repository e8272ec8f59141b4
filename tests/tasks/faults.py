"""Sweeps of faults over a stage's whole write, run as a process of its own: ``python -m tests.tasks.faults``.

An audit hook sees every file operation of the interpreter before it happens. Killing, or failing, at the k-th
one for k = 1, 2, ... until a run goes through undisturbed covers the gap between every two steps without a
single switch in the code under test. Each attempt is a fork of this process.
"""

from __future__ import annotations

import errno
import json
import os
import random
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tasks.artifacts import Artifact, verify
from tasks.errors import ArtifactError, UnveilError
from tests.tasks import toy

CHANGES = {
    "open",
    "os.mkdir",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.symlink",
    "fcntl.flock",
    "os.truncate",
}
ESCAPED, UNEXPLAINED, EXPLAINED, OTHER = 7, 3, 4, 5
reached: list[int] = []
EARLIER = toy.stage(name="earlier")


def build(home: Path, core: str, word: str = "word") -> Artifact:
    return toy.stage(core).ensure(toy.untracked_run(home), toy.ToyConfig(word=word), {})[0]


def child(action: Callable[[], object]) -> int:
    """Run in a fork; the status it ended with (a negative one is the signal that killed it)."""
    process = os.fork()
    if process == 0:
        try:
            action()
            os._exit(ESCAPED if reached else 0)
        except OSError:
            os._exit(UNEXPLAINED)
        except UnveilError as error:
            os._exit(EXPLAINED if "cannot be written" in error.problem else OTHER)
        except BaseException:
            os._exit(OTHER)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def at_step(home: Path, step: int, act: Callable[[], None]) -> None:
    """Do something before the given one of the file operations in the workspace."""
    left = [step]

    def watch(event: str, args: tuple[Any, ...]) -> None:
        inside_tree = event in ("os.remove", "os.rmdir") and args[1] >= 0
        if event in CHANGES and (event == "fcntl.flock" or inside_tree or str(args[0]).startswith(str(home))):
            left[0] -= 1
            if left[0] == 0:
                reached.append(step)
                act()

    sys.addaudithook(watch)


def digests(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def damage(home: Path, core: str) -> None:
    """Leave a damaged artefact behind, so that a build begins with a removal."""
    path = build(home, core).path / "data.bin"
    path.write_bytes(path.read_bytes()[:-1])


def state(home: Path) -> str:
    """What is at the final place: nothing, a valid artefact, or something that passes for one and is not."""
    for folder in (home / "artifacts" / "toy").glob("[!.]*"):
        if (folder / "manifest.json").exists():
            try:
                verify(folder)
            except ArtifactError:
                return "damaged"
            return "valid"
    return "none"


def sweep(home: Path, core: str, damaged: bool, act: Callable[[], None]) -> list[dict[str, Any]]:
    """One attempt per step until one goes through; each is followed by an undisturbed one."""
    expected = build(home / "undisturbed", core).content
    EARLIER.ensure(toy.untracked_run(home), toy.ToyConfig(), {})
    before = digests(home / "artifacts" / "earlier")
    found = []
    for step in range(1, 500):
        shutil.rmtree(home / "artifacts" / "toy", ignore_errors=True)
        if damaged:
            damage(home, core)
        toy.found_checkpoints.clear()

        def attempt(step: int = step) -> None:
            run = toy.untracked_run(home)
            at_step(home, step, act)
            toy.stage(core).ensure(run, toy.ToyConfig(), {})

        code = child(attempt)
        after, kept = state(home), list((home / "artifacts" / "toy").glob(".*/**/state.txt"))
        checkpoint = kept[0].read_text() if kept else ""
        signal.alarm(20)
        content = build(home, core).content
        signal.alarm(0)
        hidden = [path.name for path in (home / "artifacts" / "toy").glob(".*") if path.suffix != ".lock"]
        found.append(
            {
                "step": step,
                "code": code,
                "state": after,
                "same": content == expected,
                "resumed": toy.found_checkpoints[-1:] in ([], [checkpoint]),
                "checkpoint": checkpoint,
                "left": hidden,
                "published": [str(p) for p in (home / "artifacts" / "toy").glob("[!.]*/checkpoints")],
                "earlier": digests(home / "artifacts" / "earlier") == before,
            }
        )
        if code == 0:
            return found
    raise AssertionError("no attempt went through")


def kill_me() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail(code: int) -> Callable[[], None]:
    def act() -> None:
        raise OSError(code, os.strerror(code))

    return act


def fail_syncs(home: Path) -> list[dict[str, Any]]:
    """The k-th fsync fails, for every k."""
    real = os.fsync
    expected, found = build(home / "undisturbed", "work").content, []
    for step in range(1, 100):
        shutil.rmtree(home / "artifacts", ignore_errors=True)

        def attempt(step: int = step) -> None:
            left = [step]

            def fsync(fd: Any) -> None:
                left[0] -= 1
                if left[0] == 0:
                    raise OSError(errno.EIO, "Input/output error")
                real(fd)

            os.fsync = fsync
            build(home, "work")

        code = child(attempt)
        after = state(home)
        found.append({"code": code, "state": after, "same": build(home, "work").content == expected})
        if code == 0:
            break
    return found


def limit_sizes(home: Path) -> list[dict[str, Any]]:
    """No file may grow beyond so many bytes: real writes that fail half-way."""
    expected, found = build(home / "undisturbed", "work").content, []
    for limit in (0, 1, 10, 39, 100, 1000, 1 << 20):
        shutil.rmtree(home / "artifacts", ignore_errors=True)

        def attempt(limit: int = limit) -> None:
            run = toy.untracked_run(home)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            toy.stage().ensure(run, toy.ToyConfig(), {})

        code = child(attempt)
        after = state(home)
        found.append({"code": code, "state": after, "same": build(home, "work").content == expected})
    return found


def noted(log: Path, folder: Path) -> None:
    toy.note(log, "computed")


def race(home: Path, trials: int) -> list[dict[str, Any]]:
    """Two processes on one key, started at almost the same moment."""
    chance, found = random.Random(0), []
    for trial in range(trials):
        log = home / f"computed-{trial}"
        toy.hook[:] = [partial(noted, log)]
        pids = []
        for delay in (0.0, chance.uniform(0.0, 0.03)):
            pids.append(os.fork())
            if pids[-1] == 0:
                time.sleep(delay)
                config = toy.ToyConfig(word=f"trial {trial}", seconds=0.02)
                artifact, cached, _ = toy.stage().ensure(toy.untracked_run(home), config, {})
                toy.note(home / f"result-{trial}", f"{artifact.content} {cached}")
                os._exit(0)
        codes = [os.waitpid(pid, 0)[1] for pid in pids]
        results = sorted((home / f"result-{trial}").read_text().split("\n"))
        found.append({"codes": codes, "computed": log.read_text().count("computed"), "results": results[1:]})
    return found


def take_over(home: Path, trials: int) -> list[dict[str, Any]]:
    """The holder, which has forked a worker that outlives it, is killed; the waiter takes over."""
    found = []
    for trial in range(trials):
        config = toy.ToyConfig(word=f"trial {trial}")
        reading, writing = os.pipe()
        holder = os.fork()
        if holder == 0:

            def hang(folder: Path, writing: int = writing) -> None:
                worker = os.fork()
                if worker == 0:
                    os.close(writing)
                    time.sleep(3)
                    os._exit(0)
                os.write(writing, b"x")
                time.sleep(30)

            toy.hook[:] = [hang]
            toy.stage().ensure(toy.untracked_run(home), config, {})
        os.read(reading, 1)
        waiter = os.fork()
        if waiter == 0:
            toy.hook.clear()
            toy.stage().ensure(toy.untracked_run(home), config, {})
            os._exit(0)
        started = time.monotonic()
        toy.hook.clear()
        toy.stage().ensure(toy.untracked_run(home), toy.ToyConfig(word="another key"), {})
        other = time.monotonic() - started
        waited = os.waitpid(waiter, os.WNOHANG)[0] == 0
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
        started = time.monotonic()
        code = os.waitpid(waiter, 0)[1] if waited else 99
        found.append({"waited": waited, "code": code, "took": time.monotonic() - started, "other": other})
        os.close(reading)
        os.close(writing)
    return found


def main() -> None:
    what, home = sys.argv[1], Path(sys.argv[2])
    if what != "sync":
        os.fsync = lambda fd: None  # a killed process loses nothing that it handed to the kernel
    build(home / "warm", "work")  # what the code version reads is read once, not once in each fork
    if what == "kill":
        outcome = sweep(home, sys.argv[3], sys.argv[4] == "damaged", kill_me)
    elif what == "fail":
        outcome = sweep(home, sys.argv[3], sys.argv[4] == "damaged", fail(getattr(errno, sys.argv[5])))
    else:
        sweeps: dict[str, Callable[..., list[dict[str, Any]]]]
        sweeps = {"sync": fail_syncs, "size": limit_sizes, "race": race, "takeover": take_over}
        outcome = sweeps[what](home, *[int(text) for text in sys.argv[3:]])
    sys.stdout.write(json.dumps(outcome))


if __name__ == "__main__":
    main()
