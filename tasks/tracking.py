"""Everything that goes to MLflow, and the only module that knows it.

Runs are addressed by id through the client, never through MLflow's thread-local active run. The store is
migrated once under a lock (four processes starting on a fresh SQLite file: three fail), and artefacts have an
absolute location (they would otherwise follow the current folder of whoever writes first).
"""

from __future__ import annotations

import logging
import math
import os
import posixpath
import random
import sqlite3
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tasks import locks
from tasks.artifacts import Artifact
from tasks.canonical import canonical_json
from tasks.naming import flatten, safe_name, without_credentials

if TYPE_CHECKING:
    from mlflow.entities import Metric as Metric  # also the metric stream's
    from mlflow.tracking import MlflowClient

logger = logging.getLogger(__name__)

T = TypeVar("T")

EXPERIMENT = "unveil"
_STATUS = {"completed": "FINISHED", "failed": "FAILED", "killed": "KILLED"}
# MLflow's limits for one batch.
_METRICS, _PARAMS, _TAGS = 1000, 100, 100
_PATIENCE_SECONDS = 60.0
_LONGEST = 500
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

    @property
    def is_served(self) -> bool:
        """Whether the runs go to a server of the user's, which has pages of its own."""
        return self.uri.partition(":")[0] in ("http", "https", "databricks", "databricks-uc")

    def describe(self) -> dict[str, Any]:
        """Store and experiment, fit to be shown: credentials in the address are left out."""
        return {"tracking_uri": without_credentials(self.uri), "experiment": EXPERIMENT}

    def start(
        self, name: str, *, parent: str | None = None, tags: Mapping[str, str], params: Mapping[str, Any]
    ) -> str:
        """Start a run (a child when ``parent`` is given) with its configuration as params; returns its id."""
        own = {"mlflow.runName": name} | ({"mlflow.parentRunId": parent} if parent else {})
        own |= {safe_name(key): value[:_LONGEST] for key, value in tags.items() if value}
        created = _patiently(self._client.create_run, self.experiment_id, tags=own)
        run_id = str(created.info.run_id)
        self._log_params(run_id, params)
        self.log_text(run_id, canonical_json(params, indent=1), "config.json")
        return run_id

    def log_summary(self, run_id: str, summary: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        """Log every number of a stage's summary as a metric and every word as a tag."""
        flat = dict(flatten(summary))
        words = {key: value for key, value in flat.items() if isinstance(value, str)}
        numbers = {key: value for key, value in flat.items() if isinstance(value, int | float)}
        self.log_metrics(run_id, 0, numbers, words | dict(tags))

    def log_metrics(
        self, run_id: str, step: int, values: Mapping[str, float], tags: Mapping[str, str] | None = None
    ) -> None:
        """Log the numbers of one step, and tags with them in the same batch."""
        metrics, non_finite = metrics_of(step, values)
        self.log_batch(run_id, metrics, non_finite | dict(tags or {}))

    def log_batch(self, run_id: str, metrics: list[Metric], tags: Mapping[str, str]) -> None:
        """Log metrics and tags in as few transactions as MLflow's limits allow."""
        from mlflow.entities import RunTag

        named = [RunTag(safe_name(key), value[:_LONGEST]) for key, value in tags.items()]
        # MLflow takes 1000 entities of all kinds at once; tags come before the metrics they stand for.
        for batch in _batches(named, _TAGS):
            _patiently(self._client.log_batch, run_id, tags=batch)
        for batch in _batches(metrics, _METRICS):
            _patiently(self._client.log_batch, run_id, metrics=batch)

    def log_inputs(self, run_id: str, inputs: Mapping[str, Artifact], context: str) -> None:
        """Log each input artefact as an MLflow dataset whose digest is the artefact's content hash."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        datasets = [
            DatasetInput(
                Dataset(
                    safe_name(name),
                    artifact.content[:36],
                    "local",
                    canonical_json({"uri": artifact.path.as_posix()}),
                ),
                [InputTag("mlflow.data.context", context[:_LONGEST])],
            )
            for name, artifact in inputs.items()
        ]
        if datasets:
            _patiently(self._client.log_inputs, run_id, datasets=datasets)

    def log_files(self, run_id: str, artifact: Artifact) -> None:
        """Log what a person would look at (pictures, pages, small JSON) and the manifest, not the data."""
        for path in sorted(artifact.path.rglob("*")):
            if path.suffix in _VIEWABLE and path.is_file() and path.stat().st_size <= _VIEWABLE_BYTES:
                folder = path.parent.relative_to(artifact.path).as_posix()
                self._client.log_artifact(run_id, str(path), None if folder == "." else folder)

    def log_text(self, run_id: str, text: str, name: str) -> None:
        """Log one text file, by way of the workspace: MLflow's own helper fails where $TMPDIR is full."""
        with tempfile.TemporaryDirectory(dir=self.home, prefix=".mlflow-") as folder:
            path = Path(folder) / posixpath.basename(name)
            path.write_text(text, encoding="utf-8", errors="backslashreplace")
            self._client.log_artifact(run_id, str(path), posixpath.dirname(name) or None)

    def finish(self, run_id: str | None, status: str, tags: Mapping[str, str] | None = None) -> None:
        """End a run as completed, failed or killed, with tags that say why."""
        if run_id is not None:
            self.log_batch(run_id, [], {key: value for key, value in (tags or {}).items() if value})
            _patiently(self._client.set_terminated, run_id, _STATUS[status])

    def log_model(
        self,
        run_id: str,
        name: str,
        *,
        code: Path,
        code_paths: Iterable[Path],
        bundle: Path,
        requirements: list[str],
    ) -> str:
        """Log a servable model (models-from-code, nothing pickled) to a run; returns its address.

        Args:
            run_id: the run it belongs to.
            name: its folder among the run's artefacts.
            code: the file that defines the model.
            code_paths: packages that the file imports; they travel with the model.
            bundle: a folder of weights that the model reads.
            requirements: what must be installed to serve it.
        """
        with tempfile.TemporaryDirectory(dir=self.home, prefix=".mlflow-") as folder:
            target = Path(folder) / name
            _save_model(target, code, code_paths, bundle, requirements)
            _patiently(self._client.log_artifacts, run_id, str(target), name)
        return f"runs:/{run_id}/{name}"

    def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of MLflow's client, patiently; the registry is made of these calls."""
        return _patiently(getattr(self._client, method), *args, **kwargs)

    def exists(self) -> bool:
        """Whether there is a store already; one elsewhere counts as there."""
        return not self.uri.startswith("sqlite:///") or _database(self.uri).is_file()

    def prepare(self) -> None:
        """Create and migrate the store now, for example before a server opens it."""
        _ = self._client

    def reconcile(self, unveil_run_id: str) -> None:
        """End every run that a vanished process left RUNNING as FAILED."""
        query = f"tags.`unveil.run_id` = '{safe_name(unveil_run_id)}' and attributes.status = 'RUNNING'"
        for run in _patiently(self._client.search_runs, [self.experiment_id], query, max_results=1000):
            self.finish(run.info.run_id, "failed", {"unveil.error": "process vanished"})

    @cached_property
    def _client(self) -> MlflowClient:
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        # It prints a traceback each time the database is busy, although the call is tried again.
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
        from mlflow.tracking import MlflowClient

        self.home.mkdir(parents=True, exist_ok=True)
        with locks.held(self.home / ".mlflow.lock"):
            if self.uri.startswith("sqlite:///"):
                _patiently(_use_write_ahead_log, self.uri)
            client = MlflowClient(self.uri)
            self._prepare(client)
        return client

    @cached_property
    def experiment_id(self) -> str:
        """The experiment that all runs of the workspace are in."""
        return str(self._client.get_experiment_by_name(EXPERIMENT).experiment_id)

    def _prepare(self, client: MlflowClient) -> None:
        """Create or restore the experiment, with artefacts at an absolute location; once per process."""
        if self.uri in _prepared:
            return
        experiment = _patiently(client.get_experiment_by_name, EXPERIMENT)
        if experiment is None:
            local = self.uri.startswith("sqlite")
            location = (self.home / "mlartifacts").as_uri() if local else None
            _patiently(client.create_experiment, EXPERIMENT, artifact_location=location)
        elif experiment.lifecycle_stage == "deleted":
            client.restore_experiment(experiment.experiment_id)
        _prepared.add(self.uri)

    def _log_params(self, run_id: str, params: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        # Two keys may become one name; MLflow refuses a second value for it.
        flat = {safe_name(key): str(value)[:_LONGEST] for key, value in flatten(params) if value is not None}
        for batch in _batches([Param(key, value) for key, value in flat.items()], _PARAMS):
            _patiently(self._client.log_batch, run_id, params=batch)


def load() -> None:
    """Load MLflow's client, for whoever wants to know what memory a run holds before it begins."""
    import mlflow.tracking  # noqa: F401


def metrics_of(step: int, values: Mapping[str, float]) -> tuple[list[Metric], dict[str, str]]:
    """Finite numbers as metrics; others as tags: SQLite would store NaN as 0 and infinity as 1.8e308."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    numbers = {safe_name(key): _float(value) for key, value in values.items()}
    metrics = [Metric(key, value, now, step) for key, value in numbers.items() if math.isfinite(value)]
    tags = {
        f"non_finite.{k}": f"step {step}: {value}" for k, value in numbers.items() if not math.isfinite(value)
    }
    return metrics, tags


def _save_model(
    target: Path, code: Path, code_paths: Iterable[Path], bundle: Path, requirements: list[str]
) -> None:
    import yaml
    from mlflow import pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import AnyType

    columns = [ColSpec(DataType.string, name) for name in ("task", "text")]
    # Whole numbers beside missing ones are neither long nor double to MLflow; the model checks them itself.
    columns += [
        ColSpec(AnyType(), name, required=False)
        for name in ("question", "max_new_tokens", "temperature", "seed")
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about an example, which would be run in a process of its own
        pyfunc.save_model(
            path=str(target),
            python_model=str(code),
            artifacts={"bundle": str(bundle)},
            code_paths=[str(path) for path in code_paths],
            pip_requirements=requirements,
            signature=ModelSignature(inputs=Schema(columns)),
        )
    # MLflow notes where code and weights were taken from, and takes neither from there again.
    description = yaml.safe_load((target / "MLmodel").read_text(encoding="utf-8"))
    flavor = description["flavors"]["python_function"]
    flavor["model_code_path"] = code.name
    flavor["artifacts"]["bundle"]["uri"] = flavor["artifacts"]["bundle"]["path"]
    (target / "MLmodel").write_text(yaml.safe_dump(description, sort_keys=False), encoding="utf-8")


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _batches(items: list[T], size: int) -> Iterator[list[T]]:
    waiting = iter(items)
    while batch := list(islice(waiting, size)):
        yield batch


def _patiently(call: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Call MLflow, again while SQLite is busy: a reader that turns writer is refused without any wait.

    A refused transaction is rolled back whole, and MLflow takes the same metric twice only once.
    """
    deadline, pause = time.monotonic() + _PATIENCE_SECONDS, 0.02
    while True:
        try:
            return call(*args, **kwargs)
        except Exception as error:
            if "database is locked" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(pause * random.uniform(0.5, 1.5))
        pause = min(2 * pause, 1.0)


def _use_write_ahead_log(uri: str) -> None:
    """The file remembers it; writers no longer block readers, and creating the tables takes half as long."""
    with closing(sqlite3.connect(_database(uri))) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


def _database(uri: str) -> Path:
    return Path(uri.removeprefix("sqlite:///").partition("?")[0])
