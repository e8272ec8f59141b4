"""The smallest lifecycle that runs every stage, in forks of one process in which the heavy libraries are loaded.

The forking process only imports: the thread pools of torch and Arrow do not survive a fork, so whatever computes
does so in a child. A stage is run alone, on the artefacts of a finished workspace, as a run of its own.
``python -m tests.flows.tiny_lifecycle FOLDER`` makes such a workspace.
"""

from __future__ import annotations

import gc
import importlib
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from flows.lifecycle import compose
from flows.running import configuration, run_flow
from tasks import ledgers, runs, stages
from tasks.artifacts import MANIFEST, Artifact, verify
from tasks.config import StageConfig
from tasks.errors import ArtifactError, UnveilError, describe
from tasks.stage import Stage
from tests.tasks.toy import untracked_run

SETTINGS: dict[str, Any] = {
    "ingestion": {
        "sources": [
            {"type": "samples", "documents": 120},
            {"type": "files", "path": "corpus/*.txt", "domain": "books", "licence": "CC0-1.0"},
        ],
        "labelled": {
            "sentiment": [{"type": "samples", "rows": 120}],
            "question_answering": [{"type": "samples", "rows": 80}],
            "translation": [{"type": "samples", "rows": 80}],
        },
    },
    "tokenization": {"vocab_size": 512},
    "embeddings": {"dimensions": 8, "epochs": 1, "pictured_words": 20},
    "pretraining": {
        "training": {
            "steps": 4,
            "batch_size": 4,
            "context_length": 64,
            "checkpoint_every": 2,
            "validate_every": 4,
            "validation_tokens": 256,
            "threads": 1,
        }
    },
    "finetuning": {
        task: {"training": {"steps": 2, "batch_size": 4}}
        for task in ("sentiment", "question_answering", "translation")
    },
    "evaluation": {
        "threads": 1,
        "test_tokens": 1024,
        "ngram_orders": [2],
        "bootstrap_samples": 100,
        "max_new_tokens": 4,
    },
}
WORDS = ("rain", "boats", "letters", "winter", "copper", "gardens", "market", "clocks", "bread", "stones")
ENDED, ESCAPED = 5, 6  # how a fork says that it ended with an error for people, or with another one


def story(n: int) -> str:
    """A text of our own, another one for every number."""
    told = (
        f"The {WORDS[(n * 7 + k * k) % 10]} of house {n * 31 + k} were counted in year {k}." for k in range(9)
    )
    return " ".join(told)


def inputs(folder: Path) -> None:
    """The corpus that the lifecycle reads beside its own samples; its folder becomes the current one."""
    (folder / "corpus").mkdir(parents=True, exist_ok=True)
    for n in range(8):
        path = folder / "corpus" / f"{n}.txt"
        if not path.exists():
            path.write_text(story(n))
    os.chdir(folder)


def warm() -> None:
    """Load what the stages load, once, and use none of it."""
    for stage in stages.ALL:
        importlib.import_module(stage.core.partition(":")[0])
    for name in (
        "mlflow.tracking",
        "torch",
        "pytorch_lightning",
        "great_expectations",
        "gensim.models",
        "matplotlib.pyplot",
        "models.trainer",
        "models.finetuning",
        "models.export",
        "scipy.stats",
        "sklearn.linear_model",
        "sklearn.feature_extraction.text",
        "datasets",
    ):
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # a collection in a child must not touch, and so copy, every page


def fork(action: Callable[[], object], log: Path | None = None) -> int:
    """Run in a fork; returns its process id. Its last line of output tells the error that it ended with."""
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if process:
        return process
    code = ESCAPED
    try:
        if log is not None:
            descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
        action()
        code = 0
    except SystemExit as error:
        code = int(error.code or 0)
    except UnveilError as error:
        code = ENDED
        os.write(2, f"{error}\n".encode())
    except BaseException as error:
        os.write(2, f"{describe(error)}\n".encode())
    finally:
        os._exit(code)


def ended(process: int) -> int:
    """Wait for a fork; its exit status, negative if a signal ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def child(action: Callable[[], object], log: Path | None = None) -> int:
    """Run in a fork to its end."""
    return ended(fork(action, log))


def lifecycle(home: Path, settings: Mapping[str, Any] = SETTINGS, until: str | None = None) -> dict[str, Any]:
    """The lifecycle in this workspace, without Prefect around it."""
    os.environ["UNVEIL_HOME"] = str(home)
    return run_flow("lifecycle", compose, "smoke", settings, until)


Work = tuple[Stage, StageConfig, dict[str, Artifact]]


def works(home: Path) -> dict[str, Work]:
    """What each stage of a finished workspace was called with, by walking through it as `unveil status` does."""
    os.environ["UNVEIL_HOME"] = str(home)
    config, preset = configuration("smoke", SETTINGS)
    found: dict[str, Work] = {}
    original = Stage._inspect

    def inspect(stage: Stage, run: runs.Run, given: StageConfig, taken: Mapping[str, Artifact]) -> Artifact:
        found[stage.name] = (stage, given, dict(taken))
        return original(stage, run, given, taken)

    Stage._inspect = inspect  # type: ignore[method-assign, assignment]
    try:
        with runs.inspecting("lifecycle", config.model_dump(mode="json"), preset=preset) as run:
            compose(config)
    finally:
        Stage._inspect = original  # type: ignore[method-assign]
    return found if all(item.fresh for item in run.inspections) else {}


def finished(folder: Path) -> tuple[Path, dict[str, Work]]:
    """A finished workspace in a folder, made if it is not there or not of this code, and what its stages take."""
    home = folder / "home"
    inputs(folder)
    warm()
    found = works(home) if home.exists() else {}
    if not found:
        shutil.rmtree(home, ignore_errors=True)
        code = child(lambda: lifecycle(home), folder / "log")
        assert code == 0, (folder / "log").read_text()
        found = works(home)
    assert found, "what was built just now is not fresh"
    return home, found


def perform(work: Work) -> Artifact:
    """Run one stage as a run of its own, ledger and MLflow run included."""
    stage, config, taken = work
    with runs.running("lifecycle", {}, preset="smoke") as run:
        return stage.ensure(run, config, taken)[0]


def opened() -> runs.Run:
    """A run that keeps neither ledger nor MLflow run: for attempts whose process may write nothing any more."""
    return untracked_run(Path(os.environ["UNVEIL_HOME"]), "smoke")


def folder_of(home: Path, stage: str) -> Path:
    """The only artefact of a stage."""
    return next((home / "artifacts" / stage).glob("[!.]*"))


def content(home: Path, stage: str) -> str:
    """What is at the final place: the content of a valid artefact, ``none``, or ``damaged``."""
    for folder in (home / "artifacts" / stage).glob("[!.]*"):
        if not (folder / MANIFEST).exists():
            return "damaged"
        try:
            return verify(folder).content
        except ArtifactError:
            return "damaged"
    return "none"


def forget(home: Path, stage: str) -> None:
    """Remove all that a stage has left, but for its lock."""
    for path in (home / "artifacts" / stage).iterdir():
        if path.is_dir():
            shutil.rmtree(path)


def digests(*folders: Path) -> dict[str, tuple[int, int, bytes]]:
    """Every file with its size, its time of change and its bytes."""
    paths = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns, path.read_bytes()) for path in paths}


def others(home: Path, stage: str) -> list[Path]:
    """The artefacts of all other stages, and the inputs."""
    folders = [path for path in (home / "artifacts").glob("*/[!.]*") if path.parent.name != stage]
    return [*folders, home.parent / "corpus"]


def hidden(home: Path, stage: str) -> list[str]:
    """Working folders that are still there, locks aside."""
    return [path.name for path in (home / "artifacts" / stage).glob(".*") if path.suffix != ".lock"]


def statuses(home: Path) -> set[str]:
    """Of all runs that MLflow and the ledgers know."""
    with closing(sqlite3.connect(f"file:{home / 'mlflow.db'}?mode=ro", uri=True)) as connection:
        tracked = {row[0] for row in connection.execute("select distinct status from runs")}
    return tracked | {
        ledgers.read_ledger(path)["status"].upper() for path in home.glob(f"runs/*/{ledgers.LEDGER}")
    }


if __name__ == "__main__":
    finished(Path(sys.argv[1]))
