"""Toy stages: what the tests of the stage mechanism compute."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ConfigDict

from tasks.artifacts import Artifact
from tasks.config import StageConfig, Summary
from tasks.errors import DataError, UnknownError
from tasks.runs import Run
from tasks.stage import Stage

# What the core function found when it began, newest last; and what a test wants done at work.
found_checkpoints: list[str] = []
hook: list[Callable[[Path], None]] = []
observed: dict[str, str] = {}


class ToyConfig(StageConfig):
    model_config = ConfigDict(allow_inf_nan=True)  # the store must bear what a configuration forbids

    size: int = 3
    word: str = "word"
    scale: float = 1.0
    fail: bool = False
    seconds: float = 0.0


class ToySummary(Summary):
    files: int
    nested: dict[str, float]
    word: str


def work(inputs: Mapping[str, Artifact], config: ToyConfig, folder: Path) -> ToySummary:
    (folder / "nested").mkdir()
    for index in range(config.size):
        with (folder / "nested" / f"{index}.txt").open("w") as handle:
            handle.write(f"{config.word} {index}\n" * 3)
    upstream = "".join(artifact.content for artifact in inputs.values())
    (folder / "data.bin").write_bytes(f"{config.word}{upstream}".encode() * 10)
    (folder / "report.md").write_text(f"# {config.word}\n")
    time.sleep(config.seconds)
    for action in hook:
        action(folder)
    if config.fail:
        raise DataError("was told to fail", where="toy.txt:7", remedy="do not tell it to")
    return ToySummary(files=config.size + 2, nested={"scale": config.scale, "half": 0.5}, word=config.word)


def resumable(inputs: Mapping[str, Artifact], config: ToyConfig, folder: Path) -> ToySummary:
    state = folder / "checkpoints" / "state.txt"
    found_checkpoints.append(state.read_text() if state.exists() else "")
    for step in range(int(found_checkpoints[-1] or 0), 3):
        state.parent.mkdir(exist_ok=True)
        temporary = state.with_suffix(".tmp")
        temporary.write_text(str(step + 1))
        temporary.replace(state)
    return work(inputs, config, folder)


def observe(config: ToyConfig, fetch: bool = True) -> dict[str, str]:
    """What is observed; a value of nothing can only be known by fetching."""
    unknown = [name for name, value in observed.items() if not value]
    if unknown and not fetch:
        raise UnknownError(f"{unknown[0]} would be fetched")
    return dict(observed)


def beside(artifact: Artifact, publish: Callable[[str, str, str], None]) -> None:
    publish("toys", f"<p>{artifact.fingerprint}</p>", artifact.fingerprint)


class NoTracker:
    """A tracker that keeps nothing, for tests of the store alone."""

    def start(self, name: str, **_: Any) -> str:
        return f"mlflow-{name}"

    def describe(self) -> dict[str, Any]:
        return {"tracking_uri": "", "experiment": ""}

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


def untracked_run(home: Path, preset: str = "toy") -> Run:
    """A run without MLflow."""
    run = Run(home, "test", preset, {})
    run.__dict__["tracker"] = NoTracker()
    with suppress(FileExistsError):
        run.folder.mkdir(parents=True)
    return run


def stage(core: str = "work", **options: Any) -> Stage:
    return Stage(options.pop("name", "toy"), core=f"tests.tasks.toy:{core}", **options)


def note(path: Path, text: str) -> None:
    """Append a line in one system call: lines of several processes do not mix."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, f"{text}\n".encode())
    os.close(descriptor)
