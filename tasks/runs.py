"""The run ledger: what one run did, stage by stage, in ``runs/<run-id>/run.json``.

The ledger is the project's own memory, independent of Prefect and MLflow: it is written atomically after every stage,
`runs/latest` points at the newest, and a run whose process vanished is found by the lock that died with it.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from tasks.artifacts import Artifact, Store, replace_atomically
from tasks.environment import workspace
from tasks.errors import UnveilError
from tasks.tracking import Tracker

logger = logging.getLogger(__name__)

LEDGER = "run.json"
_LOCK = ".alive"


class UntilReached(Exception):  # noqa: N818 - control flow, not an error
    """Raised after the stage a run was asked to stop at; swallowed by the run."""


@dataclass
class Inspection:
    """What `unveil status` found out about one stage without running it."""

    stage: str
    fresh: bool
    why: str
    artifact: Artifact | None


@dataclass
class Run:
    """One run of a flow: its ledger, its store, its tracker. With ``inspect`` set, stages only report their state."""

    home: Path
    flow: str
    preset: str
    config: dict[str, Any]
    until: str | None = None
    prefect_flow_run_id: str | None = None
    inspect: bool = False
    run_id: str = field(default_factory=lambda: f"{_now():%Y%m%d-%H%M%S}-{secrets.token_hex(3)}")
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    inspections: list[Inspection] = field(default_factory=list)
    mlflow_run_id: str | None = None
    status: str = "running"
    error: str | None = None
    started: str = field(default_factory=lambda: _now().isoformat(timespec="seconds"))
    finished: str | None = None

    @cached_property
    def store(self) -> Store:
        """The artefact store of this run's workspace."""
        return Store(self.home)

    @cached_property
    def tracker(self) -> Tracker:
        """The tracker of this run's workspace."""
        return Tracker(self.home)

    @property
    def folder(self) -> Path:
        """Where this run's ledger is."""
        return self.home / "runs" / self.run_id

    def record(self, stage: str, **entry: Any) -> None:
        """Note what became of a stage and put the ledger on the disk."""
        self.stages[stage] = entry
        self.save()

    def save(self) -> None:
        """Write ``run.json`` atomically."""
        replace_atomically(self.folder / LEDGER, json.dumps(self.as_dict(), indent=1, ensure_ascii=False))

    def as_dict(self) -> dict[str, Any]:
        """The ledger as it stands in ``run.json``."""
        return {
            "run_id": self.run_id,
            "flow": self.flow,
            "preset": self.preset,
            "status": self.status,
            "error": self.error,
            "started": self.started,
            "finished": self.finished,
            "config": self.config,
            "mlflow": self.tracker.describe() | {"parent_run_id": self.mlflow_run_id},
            "prefect": {"flow_run_id": self.prefect_flow_run_id},
            "stages": self.stages,
        }


_current: ContextVar[Run | None] = ContextVar("unveil_run", default=None)


def current() -> Run | None:
    """The run this thread of execution belongs to, if any."""
    return _current.get()


@contextmanager
def running(
    flow: str, config: dict[str, Any], *, preset: str = "", until: str | None = None, flow_run_id: str | None = None
) -> Iterator[Run]:
    """Open a run: reconcile vanished ones, start the parent MLflow run, keep the ledger, close both whatever happens."""
    home = workspace()
    reconcile(home)
    run = Run(home, flow, preset, config, until=until, prefect_flow_run_id=flow_run_id)
    run.folder.mkdir(parents=True)
    with _alive(run.folder):
        tags = {"unveil.run_id": run.run_id, "unveil.preset": preset, "prefect.flow_run_id": flow_run_id or ""}
        run.mlflow_run_id = run.tracker.start(f"{flow} {preset}".strip(), tags=tags, params=config)
        run.save()
        _point_latest(run)
        token = _current.set(run)
        try:
            yield run
            run.status = "completed"
        except UntilReached:
            run.status = "completed"
        except BaseException as error:
            run.status, run.error = "failed", describe_error(error)
            raise
        finally:
            _current.reset(token)
            run.finished = _now().isoformat(timespec="seconds")
            run.tracker.finish(run.mlflow_run_id, run.status)
            run.save()


@contextmanager
def inspecting(flow: str, config: dict[str, Any], *, preset: str = "", until: str | None = None) -> Iterator[Run]:
    """Like ``running``, but stages only tell whether they are fresh: nothing is computed, tracked or written."""
    run = Run(workspace(), flow, preset, config, until=until, inspect=True)
    token = _current.set(run)
    try:
        yield run
    except UntilReached:
        pass
    finally:
        _current.reset(token)


def reconcile(home: Path) -> list[str]:
    """Mark runs whose process vanished as failed, in the ledger and in MLflow; returns their ids."""
    gone = []
    for ledger in sorted(home.glob(f"runs/*/{LEDGER}")):
        if ledger.parent.is_symlink() or ledger.parent.name == "latest":
            continue
        entry = read_ledger(ledger)
        if entry.get("status") != "running" or _is_alive(ledger.parent):
            continue
        entry |= {"status": "failed", "error": "process vanished", "finished": _now().isoformat(timespec="seconds")}
        Tracker(home).reconcile(str(entry["run_id"]))
        replace_atomically(ledger, json.dumps(entry, indent=1, ensure_ascii=False))
        logger.warning("run %s ended without a word; marked as failed", entry["run_id"])
        gone.append(str(entry["run_id"]))
    return gone


def read_ledger(path: Path) -> dict[str, Any]:
    """Read a ``run.json``; one that cannot be read counts as empty, since it is rewritten atomically or not ours."""
    try:
        entry = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return entry if isinstance(entry, dict) else {}


def latest_ledger(home: Path) -> dict[str, Any]:
    """The newest run's ledger, or an empty dictionary."""
    return read_ledger(home / "runs" / "latest" / LEDGER)


def describe_error(error: BaseException) -> str:
    """One line for an error, with its type where the text alone would not say what happened."""
    return str(error) if isinstance(error, UnveilError) else f"{type(error).__name__}: {error}".rstrip(": ")


@contextmanager
def _alive(folder: Path) -> Iterator[None]:
    with (folder / _LOCK).open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _is_alive(folder: Path) -> bool:
    try:
        with (folder / _LOCK).open("r") as handle:
            return not _try_lock(handle)
    except FileNotFoundError:
        return False


def _try_lock(handle: IO[str]) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _point_latest(run: Run) -> None:
    link = run.folder.parent / "latest"
    temporary = link.with_name(f".latest.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(run.folder.name)
    temporary.replace(link)


def _now() -> datetime:
    return datetime.now(UTC)
