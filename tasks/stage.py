"""The one mechanism behind every stage: fingerprinted, locked, cached, verified, held to contracts, tracked.

A stage is a core function ``(inputs, config, folder) -> summary`` plus what ``tasks/stages.py`` declares.
Calling it inside a flow runs it as a Prefect task; elsewhere it runs as it is. Correctness never leans on
Prefect's cache, which neither checks that a cached file still exists nor survives a killed process.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from tasks import (
    code_version,
    durable,
    failpoints,
    ledgers,
    metric_stream,
    orchestration,
    reasons,
    runs,
    shortage,
)
from tasks.artifacts import Artifact, fingerprint_of
from tasks.config import StageConfig, Summary
from tasks.errors import ArtifactError, ConfigError, UnknownError, UnveilError, describe, one_line
from tasks.orchestration import Outcome

logger = logging.getLogger(__name__)

Key = dict[str, Any]
Inputs = Mapping[str, Artifact]


@dataclass(frozen=True)
class Stage:
    """One stage, declared.

    Attributes:
        name: its name, in the ledger, in MLflow, in Prefect and in the store.
        core: ``module:function`` of the core function; imported only when there is work to do.
        contracts: which suite of ``expectations/`` guards which of the files it writes.
        optional: files among these that a run may do without, such as a labelled set nobody gave.
        observe: ``module:function`` telling what the outcome depends on beyond configuration and inputs, such
            as the digests of a user's files: ``(config, fetch) -> names and digests``. Without ``fetch`` it
            neither downloads nor writes anything, and raises `UnknownError` where that would be needed.
        beside: ``module:function`` that shows what a new artefact is beside those before, which it must not depend
            on: ``(artifact, publish) -> None``. It goes to MLflow and Prefect, not into the artefact.
        pages: ``module:function`` that draws, from an artefact, its inputs and an MLflow run's id, what is shown
            in that run beside the artefact's own files, by file name.
    """

    name: str
    core: str
    contracts: Mapping[str, str] = field(default_factory=dict)
    optional: frozenset[str] = frozenset()
    observe: str | None = None
    beside: str | None = None
    pages: str | None = None

    def __call__(self, config: StageConfig, **inputs: Artifact) -> Artifact:
        """Make sure that the stage's artefact exists, computing it only when something changed.

        Raises:
            UnveilError: the stage could not do its work; earlier artefacts are untouched.
        """
        run = runs.current()
        if run is None:
            raise ConfigError("was called outside a run", stage=self.name, remedy="use tasks.runs.running")
        if run.inspect:
            artifact = self._inspect(run, config, inputs)
        elif orchestration.inside_flow():
            about = f"MLflow run `{run.mlflow_run_id}`, unveil run `{run.run_id}`"
            artifact = orchestration.as_task(
                self.name, about, lambda links: self.ensure(run, config, inputs, links)
            )
        else:
            artifact = self.ensure(run, config, inputs)[0]
        if run.until == self.name:
            raise runs.UntilReached(self.name)
        return artifact

    def key(self, config: StageConfig, inputs: Inputs, *, fetch: bool = True) -> Key:
        """Everything the outcome depends on: equal keys, equal artefacts.

        Raises:
            UnknownError: ``fetch`` is not set, and something of it can only be known by fetching it.
        """
        observed = _load(self.observe)(config, fetch) if self.observe else {}
        return {**self._constant(config, inputs), "observed": observed}

    def _constant(self, config: StageConfig, inputs: Inputs) -> Key:
        """What of the key can be told without looking at anything outside."""
        module = self.core.partition(":")[0]
        return {
            "stage": self.name,
            "config": config.deciding(),
            "inputs": {name: artifact.content for name, artifact in inputs.items()},
            "code": code_version.modules(module),
            "libraries": code_version.libraries(module),
            "contracts": _contract_digests(self.contracts.values()),
        }

    def ensure(
        self, run: runs.Run, config: StageConfig, inputs: Inputs, links: Mapping[str, str] | None = None
    ) -> Outcome:
        """Find or compute the artefact, track it, and tell whether it was there and why if it was not."""
        started = time.monotonic()
        with self._tracked(run, config, inputs, links or {}) as mlflow_run_id:
            key = self.key(config, inputs)
            artifact, why, cached = self._obtain(run, key, config, inputs, mlflow_run_id)
            seconds = round(time.monotonic() - started, 3)
            numbers = artifact.summary() | {"stage_seconds": seconds}
            run.tracker.log_summary(mlflow_run_id, numbers, _tags(artifact, cached, why))
            run.tracker.log_files(mlflow_run_id, artifact)
            self._show_pages(run, artifact, inputs, mlflow_run_id)
            run.record(
                self.name,
                artifact=str(artifact.path),
                fingerprint=artifact.fingerprint,
                cached=cached,
                why=why,
                seconds=seconds,
                mlflow_run_id=mlflow_run_id,
            )
        logger.info("%s: %s in %.1f s", self.name, "unchanged" if cached else "done", seconds)
        return artifact, cached, why

    def _show_pages(self, run: runs.Run, artifact: Artifact, inputs: Inputs, mlflow_run_id: str) -> None:
        """Log what is drawn from the artefact; a page that cannot be drawn must not fail the stage."""
        if self.pages:
            with runs.attempting(f"show the pages of {self.name}"):
                for name, html in _load(self.pages)(artifact, inputs, mlflow_run_id).items():
                    run.tracker.log_text(mlflow_run_id, html, name)

    def _obtain(
        self, run: runs.Run, key: Key, config: StageConfig, inputs: Inputs, mlflow_run_id: str
    ) -> tuple[Artifact, str, bool]:
        """The artefact, why it had to be computed, and whether it had not. One process per key at a time."""
        name, fingerprint = _name(run), fingerprint_of(key)
        try:
            with run.store.locked(self.name, name, fingerprint):
                artifact, why = self._find(run, name, key)
                if artifact is not None:
                    run.store.tidy(self.name, name, fingerprint)
                    return artifact, why, True
                logger.info("%s: computing, because %s", self.name, one_line(why))
                return self._compute(run, name, key, config, inputs, mlflow_run_id), why, False
        except OSError as error:
            explained = shortage.storage_error(error, self.name, run.store.root / self.name)
            if explained is None:
                raise
            raise explained from error

    def _find(self, run: runs.Run, name: str, key: Key) -> tuple[Artifact | None, str]:
        """The valid artefact for this key, or why there is none. A damaged one is removed, loudly."""
        fingerprint = fingerprint_of(key)
        try:
            artifact = run.store.find(self.name, name, fingerprint)
        except ArtifactError as error:
            if not run.inspect:
                logger.warning("%s", error)
                run.store.remove(self.name, name, fingerprint)
            return None, f"damaged: {error.where} {error.problem}"
        if artifact is not None:
            return artifact, "unchanged"
        former = ledgers.former_fingerprint(run.home, run.run_id, self.name)
        return None, reasons.why(run.store, self.name, name, key, former)

    def _compute(
        self, run: runs.Run, name: str, key: Key, config: StageConfig, inputs: Inputs, mlflow_run_id: str
    ) -> Artifact:
        """Run the core function in a hidden folder, hold the result against its contracts, publish it."""
        _read_contracts(self.contracts.values(), self.name)
        fingerprint = fingerprint_of(key)
        with failpoints.within(self.name):
            folder = run.store.begin(self.name, name, fingerprint)
            try:
                with metric_stream.streaming(run.tracker, mlflow_run_id):
                    summary: Summary = _load(self.core)(inputs, config, folder)
                verdicts = self._honour_contracts(run, folder, mlflow_run_id)
                artifact = run.store.commit(self.name, name, key, summary.model_dump(mode="json") | verdicts)
            except BaseException as error:
                written = durable.size_of(folder)
                with runs.attempting("remove what the failed attempt wrote"):
                    run.store.abandon(self.name, name, fingerprint)
                former = durable.size_of(reasons.newest(run.store, self.name, name))
                short = shortage.explained(error, self.name, folder, written, former)
                if short is None:
                    raise
                raise short from error
        if self.beside:
            _load(self.beside)(artifact, _publisher(run, mlflow_run_id, ""))
        return artifact

    def _honour_contracts(self, run: runs.Run, folder: Path, mlflow_run_id: str) -> dict[str, Any]:
        """Check every guarded file; each verdict is shown in MLflow and in Prefect."""
        if not self.contracts:
            return {}
        from tasks import contracts

        publish = _publisher(run, mlflow_run_id, "contract")
        former = reasons.newest(run.store, self.name, _name(run))
        return contracts.honour(self.name, folder, self.contracts, self.optional, former, publish)

    def _inspect(self, run: runs.Run, config: StageConfig, inputs: Inputs) -> Artifact:
        """Report the stage's state; one whose input would rebuild would rebuild too."""
        found = self._waiting(run, inputs) or self._judged(run, config, inputs)
        run.inspections.append(found)
        return found.artifact or Artifact(stage=self.name, fingerprint="", content="", path=Path())

    def _waiting(self, run: runs.Run, inputs: Inputs) -> runs.Inspection | None:
        """What is to be said of a stage whose inputs are not there; nothing if they are."""
        stale = {name: artifact.stage for name, artifact in inputs.items() if not artifact.content}
        unknown = {item.stage for item in run.inspections if item.fresh is None}
        sure = [name for name, stage in stale.items() if stage not in unknown]
        if sure:
            return runs.Inspection(self.name, False, f"input {', '.join(sure)} would rebuild", None)
        if stale:
            return runs.Inspection(self.name, None, f"input {', '.join(stale)} may be rebuilt", None)
        return None

    def _judged(self, run: runs.Run, config: StageConfig, inputs: Inputs) -> runs.Inspection:
        try:
            key = self.key(config, inputs, fetch=False)
        except UnknownError as error:
            other = reasons.whatever_observed(
                run.store, self.name, _name(run), self._constant(config, inputs)
            )
            why = f"{other}; {error}" if other else str(error)
            return runs.Inspection(self.name, False if other else None, why, None)
        artifact, why = self._find(run, _name(run), key)
        return runs.Inspection(self.name, artifact is not None, why, artifact)

    @contextmanager
    def _tracked(
        self, run: runs.Run, config: StageConfig, inputs: Inputs, links: Mapping[str, str]
    ) -> Iterator[str]:
        """One child MLflow run around the stage, ended as what became of it."""
        started = time.monotonic()
        tags = {"unveil.run_id": run.run_id, "unveil.stage": self.name, **links}
        tags["prefect.flow_run_id"] = run.prefect_flow_run_id or ""
        params = config.model_dump(mode="json")
        run_id = run.tracker.start(self.name, parent=run.mlflow_run_id, tags=tags, params=params)
        try:
            run.tracker.log_inputs(run_id, inputs, self.name)
            yield run_id
        except BaseException as error:
            if isinstance(error, UnveilError):
                error.stage = error.stage or self.name
            self._record_failure(run, run_id, error, time.monotonic() - started)
            raise
        run.tracker.finish(run_id, "completed")

    def _record_failure(self, run: runs.Run, run_id: str, error: BaseException, seconds: float) -> None:
        """Note a failure in MLflow and in the ledger; a failure to do so must not hide the error itself."""
        reason = describe(error)
        with runs.attempting("tell MLflow about the failure"):
            status = "failed" if isinstance(error, Exception) else "killed"
            run.tracker.finish(run_id, status, {"unveil.error": reason})
        with runs.attempting("write the ledger"):
            run.record(
                self.name,
                artifact=None,
                fingerprint=None,
                cached=False,
                why=reason,
                seconds=round(seconds, 3),
                mlflow_run_id=run_id,
            )


def _name(run: runs.Run) -> str:
    """The artefact's name: the preset, fit for a folder name."""
    return re.sub(r"[^\w-]", "_", run.preset) or "custom"


def _publisher(run: runs.Run, mlflow_run_id: str, kind: str) -> Callable[[str, str, str], None]:
    """What takes a page: its name, the HTML for MLflow, the Markdown for Prefect."""
    folder, prefix = (f"{kind}s/", f"{kind}-") if kind else ("", "")

    def publish(name: str, html: str, markdown: str) -> None:
        run.tracker.log_text(mlflow_run_id, html, f"{folder}{name}.html")
        orchestration.show(f"{prefix}{name}", markdown)

    return publish


def _tags(artifact: Artifact, cached: bool, why: str) -> dict[str, str]:
    return {
        "unveil.artifact": artifact.path.as_posix(),
        "unveil.fingerprint": artifact.fingerprint,
        "unveil.content": artifact.content,
        "unveil.cached": str(cached).lower(),
        "unveil.why": one_line(why, 500),
    }


def _load(reference: str) -> Callable[..., Any]:
    module, _, function = reference.partition(":")
    loaded: Callable[..., Any] = getattr(import_module(module), function)
    return loaded


def _read_contracts(suites: Collection[str], stage: str) -> None:
    """Find a suite file that is corrupt before the work, which may take days, and not after it."""
    if suites:
        from tasks.suites import load

        for suite in suites:
            load(suite, stage=stage)


def _contract_digests(suites: Collection[str]) -> dict[str, str]:
    """Digest of each suite, and of the custom classes that a suite may use."""
    if not suites:
        return {}
    from tasks.suites import digest

    return {suite: digest(suite) for suite in suites} | code_version.modules("expectations")
