"""Everything that goes to MLflow, and the only module that knows it.

Runs are addressed by id through the client, never through MLflow's thread-local active run. The store is migrated once
under a lock (four processes starting on a fresh SQLite file: three fail), and artefacts have an absolute location
(they would otherwise follow the current folder of whoever writes first).
"""

from __future__ import annotations

import fcntl
import logging
import math
import os
import re
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from tasks.artifacts import Artifact

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

EXPERIMENT = "unveil"
_STATUS = {"completed": "FINISHED", "failed": "FAILED", "killed": "KILLED"}
_BATCH = 500
_FLUSH_SECONDS = 2.0
_VIEWABLE = {".md", ".html", ".json", ".png", ".txt"}
_VIEWABLE_BYTES = 4 << 20
_prepared: set[str] = set()


class Tracker:
    """The tracking store of a workspace."""

    def __init__(self, home: Path) -> None:
        self.home = home

    @property
    def uri(self) -> str:
        """Where runs go: ``MLFLOW_TRACKING_URI`` if the user set it, else SQLite in the workspace."""
        return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self.home / 'mlflow.db'}"

    def describe(self) -> dict[str, Any]:
        """Store and experiment, fit to be shown: credentials in the address are left out."""
        return {"tracking_uri": _without_credentials(self.uri), "experiment": EXPERIMENT}

    def start(
        self, name: str, *, parent: str | None = None, tags: Mapping[str, str], params: Mapping[str, Any]
    ) -> str:
        """Start a run (a child when ``parent`` is given) with its configuration as params; returns its id."""
        own = {"mlflow.runName": name, **{key: value for key, value in tags.items() if value}}
        if parent:
            own["mlflow.parentRunId"] = parent
        run_id = str(self._client.create_run(self._experiment, tags=own).info.run_id)
        self._log_params(run_id, params)
        self._client.log_dict(run_id, dict(params), "config.json")
        return run_id

    def log_summary(self, run_id: str, summary: Mapping[str, Any]) -> None:
        """Log every number of a stage's summary as a metric and every word as a tag."""
        flat = dict(flatten(summary))
        numbers = {key: float(value) for key, value in flat.items() if isinstance(value, int | float)}
        self.log_metrics(run_id, 0, numbers)
        for key, value in flat.items():
            if isinstance(value, str):
                self._client.set_tag(run_id, _name(key), value[:500])

    def log_metrics(self, run_id: str, step: int, values: Mapping[str, float]) -> None:
        """Log finite numbers of one step; a non-finite one becomes a tag, since SQLite would store NaN as 0."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        finite = {key: value for key, value in values.items() if math.isfinite(value)}
        for key in values.keys() - finite.keys():
            self._client.set_tag(run_id, f"non_finite.{_name(key)}", f"step {step}: {values[key]}")
        metrics = [Metric(_name(key), value, now, step) for key, value in finite.items()]
        for start in range(0, len(metrics), _BATCH):
            self._client.log_batch(run_id, metrics=metrics[start : start + _BATCH])

    def log_inputs(self, run_id: str, inputs: Mapping[str, Artifact], context: str) -> None:
        """Log each input artefact as an MLflow dataset whose digest is the artefact's content hash."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        datasets = [
            DatasetInput(
                Dataset(name, artifact.content[:36], "local", _json({"uri": artifact.path.as_posix()})),
                [InputTag("mlflow.data.context", context)],
            )
            for name, artifact in inputs.items()
        ]
        if datasets:
            self._client.log_inputs(run_id, datasets=datasets)

    def log_files(self, run_id: str, artifact: Artifact) -> None:
        """Log what a person would look at (pictures, pages, small JSON) and the manifest, not the data."""
        for path in sorted(artifact.path.rglob("*")):
            if path.suffix in _VIEWABLE and path.is_file() and path.stat().st_size <= _VIEWABLE_BYTES:
                folder = path.parent.relative_to(artifact.path).as_posix()
                self._client.log_artifact(run_id, str(path), None if folder == "." else folder)

    def log_text(self, run_id: str, text: str, name: str) -> None:
        """Log one text file."""
        self._client.log_text(run_id, text, name)

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set several tags of a run."""
        for key, value in tags.items():
            self._client.set_tag(run_id, key, value)

    def finish(self, run_id: str | None, status: str) -> None:
        """End a run as completed, failed or killed."""
        if run_id is not None:
            self._client.set_terminated(run_id, _STATUS[status])

    def reconcile(self, unveil_run_id: str) -> None:
        """End every run that a vanished process left RUNNING as FAILED."""
        query = f"tags.`unveil.run_id` = '{_name(unveil_run_id)}' and attributes.status = 'RUNNING'"
        for run in self._client.search_runs([self._experiment], query, max_results=1000):
            self._client.set_tag(run.info.run_id, "unveil.reconciled", "process vanished")
            self._client.set_terminated(run.info.run_id, "FAILED")

    @cached_property
    def _client(self) -> MlflowClient:
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        from mlflow.tracking import MlflowClient

        self.home.mkdir(parents=True, exist_ok=True)
        with self._locked():
            client = MlflowClient(self.uri)
            self._prepare(client)
        return client

    @cached_property
    def _experiment(self) -> str:
        return str(self._client.get_experiment_by_name(EXPERIMENT).experiment_id)

    def _prepare(self, client: MlflowClient) -> None:
        """Create and migrate the store, switch SQLite to write-ahead logging, create the experiment; once."""
        if self.uri in _prepared:
            return
        if client.get_experiment_by_name(EXPERIMENT) is None:
            local = self.uri.startswith("sqlite")
            location = (self.home / "mlartifacts").as_uri() if local else None
            client.create_experiment(EXPERIMENT, artifact_location=location)
        if self.uri.startswith("sqlite:///"):
            with sqlite3.connect(self.uri.removeprefix("sqlite:///")) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
        _prepared.add(self.uri)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.home / ".mlflow.lock").open("a") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def _log_params(self, run_id: str, params: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        flat = [Param(_name(key), str(value)[:500]) for key, value in flatten(params) if value is not None]
        for start in range(0, len(flat), 100):
            self._client.log_batch(run_id, params=flat[start : start + 100])


class MetricStream:
    """Step-by-step metrics of one run, buffered so that a training step never waits for the database."""

    def __init__(self, tracker: Tracker, run_id: str) -> None:
        self._tracker, self._run_id = tracker, run_id
        self._waiting: list[Any] = []
        self._flushed = time.monotonic()

    def __call__(self, step: int, values: Mapping[str, float]) -> None:
        """Take the metrics of one step."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._waiting += [Metric(_name(k), v, now, step) for k, v in values.items() if math.isfinite(v)]
        if len(self._waiting) >= _BATCH or time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting."""
        while self._waiting:
            batch, self._waiting = self._waiting[: 2 * _BATCH], self._waiting[2 * _BATCH :]
            self._tracker._client.log_batch(self._run_id, metrics=batch)
        self._flushed = time.monotonic()


_stream: ContextVar[MetricStream | None] = ContextVar("unveil_metrics", default=None)


def log_step(step: int, values: Mapping[str, float]) -> None:
    """Log metrics of one step to the MLflow run of the stage at work; does nothing outside a stage."""
    stream = _stream.get()
    if stream is not None:
        stream(step, values)


@contextmanager
def streaming(tracker: Tracker, run_id: str) -> Iterator[None]:
    """Send ``log_step`` to a run while the block lasts; what is buffered is written even if the block fails."""
    stream = MetricStream(tracker, run_id)
    token = _stream.set(stream)
    try:
        yield
    finally:
        _stream.reset(token)
        stream.flush()


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from flatten(value, f"{name}.")
        elif isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
            for index, item in enumerate(value):
                yield from flatten(item if isinstance(item, Mapping) else {"value": item}, f"{name}.{index}.")
        else:
            yield name, value


def _name(text: str) -> str:
    """A name MLflow takes: letters, digits and ``_-. /``."""
    return re.sub(r"[^\w\-./ ]", "_", text)[:250]


def _without_credentials(uri: str) -> str:
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _json(value: Any) -> str:
    from tasks.artifacts import canonical_json

    return canonical_json(value)
