"""One run of a flow from its first word to its last: its ledger, its lock, its parent MLflow run.

A run whose process vanished is found by its lock, which the kernel released.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from tasks import failpoints, ledgers, locks, orchestration
from tasks.artifacts import Artifact, Store
from tasks.environment import workspace
from tasks.errors import ConfigError, describe, one_line
from tasks.shortage import storage_error
from tasks.tracking import Tracker

logger = logging.getLogger(__name__)

_LOCK = ".alive"


class UntilReached(Exception):  # noqa: N818 - control flow, not an error
    """Raised after the stage a run was asked to stop at; swallowed by the run."""


@dataclass
class Inspection:
    """What `unveil status` found out about one stage without running it.

    ``fresh`` is None where only fetching what the stage reads would tell.
    """

    stage: str
    fresh: bool | None
    why: str
    artifact: Artifact | None


@dataclass
class Run:
    """One run of a flow: its ledger, store and tracker. With ``inspect``, stages only report their state."""

    home: Path
    flow: str
    preset: str
    config: dict[str, Any]
    until: str | None = None
    prefect_flow_run_id: str | None = None
    reason: dict[str, str] = field(default_factory=dict)  # why it was started: `why`, `event`
    inspect: bool = False
    run_id: str = field(default_factory=lambda: _new_id())
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)  # what a flow found out beside its stages
    inspections: list[Inspection] = field(default_factory=list)
    mlflow_run_id: str | None = None
    status: str = "running"
    error: str | None = None
    started: str = field(default_factory=lambda: _now())
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

    def note(self, name: str, found: Mapping[str, Any]) -> None:
        """Keep what a flow found out, in the ledger and on the parent MLflow run."""
        self.notes[name] = dict(found)
        self.save()
        if self.mlflow_run_id:
            tags = {f"unveil.{name}.{key}": one_line(str(value), 500) for key, value in found.items()}
            self.tracker.log_summary(self.mlflow_run_id, {name: dict(found)}, tags)

    def save(self) -> None:
        """Write ``run.json`` atomically."""
        ledgers.write_ledger(self.folder / ledgers.LEDGER, self.as_dict())

    def as_dict(self) -> dict[str, Any]:
        """The ledger as it stands in ``run.json``."""
        return {
            "run_id": self.run_id,
            "flow": self.flow,
            "preset": self.preset,
            "status": self.status,
            "error": self.error,
            "reason": self.reason,
            "started": self.started,
            "finished": self.finished,
            "config": self.config,
            "mlflow": self.tracker.describe() | {"parent_run_id": self.mlflow_run_id},
            "prefect": {"flow_run_id": self.prefect_flow_run_id},
            "stages": self.stages,
            "notes": self.notes,
        }


_current: ContextVar[Run | None] = ContextVar("unveil_run", default=None)


def current() -> Run | None:
    """The run this thread of execution belongs to, if any."""
    return _current.get()


@contextmanager
def running(
    flow: str,
    config: dict[str, Any],
    *,
    preset: str = "",
    until: str | None = None,
    flow_run_id: str | None = None,
    reason: Mapping[str, str] | None = None,
) -> Iterator[Run]:
    """Open a run: reconcile vanished ones, keep a ledger and a parent MLflow run, close both in any case."""
    failpoints.arm(os.environ.get(failpoints.VARIABLE))
    run = Run(workspace(), flow, preset, config, until, flow_run_id, dict(reason or {}))
    _make_folder(run)
    reconcile(run.home)
    # The ledger comes first: a run that MLflow knows and the ledger does not could never be reconciled.
    with locks.held(run.folder / _LOCK):
        run.save()
        with attempting("point runs/latest at this run"):
            _point_latest(run)
        token = _current.set(run)
        try:
            run.mlflow_run_id = run.tracker.start(f"{flow} {preset}".strip(), tags=_tags(run), params=config)
            run.save()
            yield run
            run.status = "completed"
        except UntilReached:
            run.status = "completed"
        except BaseException as error:
            run.status, run.error = "failed", describe(error)
            raise
        finally:
            _current.reset(token)
            _close(run)


@contextmanager
def inspecting(
    flow: str, config: dict[str, Any], *, preset: str = "", until: str | None = None
) -> Iterator[Run]:
    """Like ``running``, but stages only tell whether they are fresh: nothing is computed or written."""
    run = Run(workspace(), flow, preset, config, until=until, inspect=True)
    token = _current.set(run)
    try:
        yield run
    except UntilReached:
        pass
    finally:
        _current.reset(token)


def reconcile(home: Path) -> list[str]:
    """Mark runs whose process vanished as failed, in the ledger, MLflow and Prefect; returns their ids."""
    gone = []
    for folder in ledgers.folders(home):
        ledger, run_id = folder / ledgers.LEDGER, folder.name
        if ledgers.read_ledger(ledger).get("status") != "running" or locks.is_held(folder / _LOCK):
            continue
        # A run writes its ledger only while it holds the lock, which is free now: this is its last word.
        entry = ledgers.read_ledger(ledger)
        if entry.get("status") != "running":
            continue
        Tracker(home).reconcile(run_id)
        with attempting("tell Prefect about a vanished run"):
            orchestration.reconcile((entry.get("prefect") or {}).get("flow_run_id"))
        ledgers.write_ledger(
            ledger, entry | {"status": "failed", "error": "process vanished", "finished": _now()}
        )
        logger.warning("run %s ended without a word; marked as failed", run_id)
        gone.append(run_id)
    return gone


@contextmanager
def attempting(what: str) -> Iterator[None]:
    """Do something on the way out of a failure: if it fails too, say so, and let the first error through."""
    try:
        yield
    except Exception as error:
        logger.warning("could not %s: %s", what, describe(error))


def _make_folder(run: Run) -> None:
    try:
        run.folder.mkdir(parents=True)
    except OSError as error:
        explained = storage_error(error, "", run.folder)
        if explained is None:
            problem = f"cannot be a workspace ({error.strerror})"
            explained = ConfigError(problem, where=run.home, remedy="set UNVEIL_HOME to a folder")
        raise explained from error


def _close(run: Run) -> None:
    """Write the last ledger and end the MLflow run; neither may hide what became of the run or undo it."""
    run.finished = _now()
    with attempting("write the ledger"):
        run.save()
    with attempting("end the MLflow run"):
        run.tracker.finish(run.mlflow_run_id, run.status, {"unveil.error": run.error or ""})


def _tags(run: Run) -> dict[str, str]:
    flow_run_id = run.prefect_flow_run_id or ""
    reason = {f"unveil.reason.{name}": one_line(text, 500) for name, text in run.reason.items()}
    about = {"unveil.run_id": run.run_id, "unveil.preset": run.preset, "prefect.flow_run_id": flow_run_id}
    return about | reason


def _point_latest(run: Run) -> None:
    link = run.folder.parent / ledgers.LATEST
    temporary = link.with_name(f".latest.{run.run_id}")
    temporary.symlink_to(run.folder.name)
    try:
        temporary.replace(link)
    except OSError:  # a folder: somebody copied the workspace and let the copy follow links
        temporary.unlink()
        raise


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _new_id() -> str:
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
