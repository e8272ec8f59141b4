"""The one mechanism behind every stage: fingerprinted, locked, cached, verified, guarded by contracts, tracked.

A stage is a core function ``(inputs, config, folder) -> summary`` plus what is declared about it in ``tasks/stages.py``.
Calling it inside a flow runs it as a Prefect task; elsewhere it runs as it is. Correctness never leans on Prefect's
cache, which neither checks that a cached file still exists nor survives a killed process.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from tasks import code_version, runs, tracking
from tasks.artifacts import MANIFEST, Artifact, canonical_json, fingerprint_of
from tasks.config import StageConfig, Summary
from tasks.errors import ArtifactError, ConfigError, UnveilError, one_line

logger = logging.getLogger(__name__)

Key = dict[str, Any]


@dataclass(frozen=True)
class Stage:
    """One stage, declared.

    Attributes:
        name: its name, in the ledger, in MLflow, in Prefect and in the store.
        core: ``module:function`` of the core function; imported only when there is work to do.
        contracts: which suite of ``expectations/`` guards which of the files it writes.
        observe: ``module:function`` telling what the outcome depends on beyond configuration and inputs, such as
            the digests of a user's files.
    """

    name: str
    core: str
    contracts: Mapping[str, str] = field(default_factory=dict)
    observe: str | None = None

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
        elif _inside_flow():
            artifact = _as_prefect_task(self, run, config, inputs)
        else:
            artifact = self.ensure(run, config, inputs)[0]
        if run.until == self.name:
            raise runs.UntilReached(self.name)
        return artifact

    def key(self, config: StageConfig, inputs: Mapping[str, Artifact]) -> Key:
        """Everything the outcome depends on: equal keys, equal artefacts."""
        module = self.core.partition(":")[0]
        return {
            "stage": self.name,
            "config": config.model_dump(mode="json"),
            "inputs": {name: artifact.content for name, artifact in inputs.items()},
            "observed": _load(self.observe)(config) if self.observe else {},
            "code": code_version.modules(module),
            "libraries": code_version.libraries(module),
            "contracts": {suite: _suite_digest(suite) for suite in self.contracts.values()},
        }

    def ensure(
        self, run: runs.Run, config: StageConfig, inputs: Mapping[str, Artifact], links: Mapping[str, str] | None = None
    ) -> tuple[Artifact, bool, str]:
        """Find or compute the artefact, track it, and tell whether it was there and why if it was not."""
        started = time.monotonic()
        name = run.preset or "custom"
        with self._tracked(run, config, inputs, links or {}) as mlflow_run_id:
            key = self.key(config, inputs)
            fingerprint = fingerprint_of(key)
            with run.store.locked(self.name, name, fingerprint):
                artifact, why = self._find(run, name, key)
                cached = artifact is not None
                if artifact is None:
                    logger.info("%s: computing, because %s", self.name, why)
                    artifact = self._compute(run, name, key, config, inputs, mlflow_run_id)
            seconds = round(time.monotonic() - started, 3)
            run.tracker.log_summary(mlflow_run_id, artifact.summary())
            run.tracker.log_metrics(mlflow_run_id, 0, {"stage_seconds": seconds})
            run.tracker.set_tags(mlflow_run_id, _tags(artifact, cached, why))
            run.tracker.log_files(mlflow_run_id, artifact)
            run.record(
                self.name,
                artifact=str(artifact.path),
                fingerprint=fingerprint,
                cached=cached,
                why=why,
                seconds=seconds,
                mlflow_run_id=mlflow_run_id,
            )
        logger.info("%s: %s in %.1f s", self.name, "unchanged" if cached else "done", seconds)
        return artifact, cached, why

    def _find(self, run: runs.Run, name: str, key: Key) -> tuple[Artifact | None, str]:
        """The valid artefact for this key, or the reason why there is none. A damaged one is removed, loudly."""
        fingerprint = fingerprint_of(key)
        try:
            artifact = run.store.find(self.name, name, fingerprint)
        except ArtifactError as error:
            if run.inspect:
                return None, f"damaged: {error.where} {error.problem}"
            logger.warning("%s", error)
            run.store.remove(self.name, name, fingerprint)
            return None, f"damaged: {error.where} {error.problem}"
        if artifact is not None:
            return artifact, "unchanged"
        return None, self._why(run, name, key)

    def _why(self, run: runs.Run, name: str, key: Key) -> str:
        """Which parts of the key differ from the newest artefact of the same name."""
        known = runs.latest_ledger(run.home).get("stages", {}).get(self.name, {}).get("fingerprint")
        if known == fingerprint_of(key):
            return "its artefact is gone"
        folders = (run.store.root / self.name).glob(f"{name}-*/{MANIFEST}")
        newest = max(folders, key=lambda path: path.stat().st_mtime, default=None)
        if newest is None:
            return "never built"
        try:
            former = Artifact(stage=self.name, fingerprint="", content="", path=newest.parent).manifest().key
        except ArtifactError:
            return "the former artefact cannot be read"
        return "; ".join(_differences(former, key)) or "never built"

    def _compute(
        self,
        run: runs.Run,
        name: str,
        key: Key,
        config: StageConfig,
        inputs: Mapping[str, Artifact],
        mlflow_run_id: str,
    ) -> Artifact:
        """Run the core function in a hidden folder, hold the result against its contracts, publish it."""
        fingerprint = fingerprint_of(key)
        folder = run.store.begin(self.name, name, fingerprint)
        try:
            with tracking.streaming(run.tracker, mlflow_run_id):
                summary: Summary = _load(self.core)(inputs, config, folder)
            verdicts = self._honour_contracts(run, folder, mlflow_run_id)
            return run.store.commit(self.name, name, key, summary.model_dump(mode="json") | verdicts)
        except BaseException:
            run.store.abandon(self.name, name, fingerprint)
            raise

    def _honour_contracts(self, run: runs.Run, folder: Path, mlflow_run_id: str) -> dict[str, Any]:
        """Check every guarded file; the verdicts are kept beside the data, and a critical failure stops the stage."""
        if not self.contracts:
            return {}
        from tasks import validation

        passed = {}
        for file, suite in self.contracts.items():
            result = validation.check(suite, folder / file, stage=self.name)
            run.tracker.log_text(mlflow_run_id, validation.to_html(result), f"contracts/{suite}.html")
            validation.raise_for_failure(result, self.name)
            target = folder / "contracts" / f"{suite}.json"
            target.parent.mkdir(exist_ok=True)
            target.write_text(canonical_json(result.model_dump(mode="json"), indent=1), encoding="utf-8")
            passed[suite] = {"expectations": len(result.results), "rows": result.rows}
        return {"contracts": passed}

    def _inspect(self, run: runs.Run, config: StageConfig, inputs: Mapping[str, Artifact]) -> Artifact:
        """Report the stage's state; a stage whose input would rebuild cannot be looked up, so it would rebuild too."""
        stale = [name for name, artifact in inputs.items() if not artifact.content]
        artifact, why = None, f"input {', '.join(stale)} would rebuild"
        if not stale:
            artifact, why = self._find(run, run.preset or "custom", self.key(config, inputs))
        run.inspections.append(runs.Inspection(self.name, artifact is not None, why, artifact))
        return artifact or Artifact(stage=self.name, fingerprint="", content="", path=Path())

    @contextmanager
    def _tracked(
        self, run: runs.Run, config: StageConfig, inputs: Mapping[str, Artifact], links: Mapping[str, str]
    ) -> Iterator[str]:
        """One child MLflow run around the stage, ended as what became of it."""
        started = time.monotonic()
        tags = {"unveil.run_id": run.run_id, "unveil.stage": self.name, **links}
        params = config.model_dump(mode="json")
        run_id = run.tracker.start(self.name, parent=run.mlflow_run_id, tags=tags, params=params)
        try:
            run.tracker.log_inputs(run_id, inputs, self.name)
            yield run_id
        except BaseException as error:
            killed = not isinstance(error, Exception)
            run.tracker.set_tags(run_id, {"unveil.error": one_line(runs.describe_error(error), 500)})
            run.tracker.finish(run_id, "killed" if killed else "failed")
            seconds = round(time.monotonic() - started, 3)
            run.record(
                self.name,
                artifact=None,
                fingerprint=None,
                cached=False,
                why=runs.describe_error(error),
                seconds=seconds,
                mlflow_run_id=run_id,
            )
            raise
        run.tracker.finish(run_id, "completed")


def _tags(artifact: Artifact, cached: bool, why: str) -> dict[str, str]:
    return {
        "unveil.artifact": artifact.path.as_posix(),
        "unveil.fingerprint": artifact.fingerprint,
        "unveil.content": artifact.content,
        "unveil.cached": str(cached).lower(),
        "unveil.why": one_line(why, 500),
    }


def _differences(former: Mapping[str, Any], key: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Readable differences between two keys, such as ``config.vocab_size 4096 -> 8192``."""
    found = []
    for name in sorted(former.keys() | key.keys()):
        old, new = former.get(name), key.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += _differences(old, new, f"{prefix}{name}.")
        elif old != new and prefix in ("inputs.", "observed.", "code.", "contracts."):
            found.append(f"{prefix}{name} changed")
        elif old != new:
            found.append(f"{prefix}{name} {_short(old)} -> {_short(new)}")
    return found


def _short(value: Any) -> str:
    text = canonical_json(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _load(reference: str) -> Callable[..., Any]:
    module, _, function = reference.partition(":")
    loaded: Callable[..., Any] = getattr(import_module(module), function)
    return loaded


def _suite_digest(suite: str) -> str:
    from tasks import validation

    return validation.digest(suite)


def _inside_flow() -> bool:
    from prefect.context import FlowRunContext

    return FlowRunContext.get() is not None


def _as_prefect_task(
    stage: Stage, run: runs.Run, config: StageConfig, inputs: Mapping[str, Artifact]
) -> Artifact:
    """Run a stage as a Prefect task in this thread (Lightning handles signals only in the main one)."""
    from prefect import task
    from prefect.artifacts import create_markdown_artifact
    from prefect.cache_policies import NO_CACHE
    from prefect.context import TaskRunContext
    from prefect.states import Completed, State

    @task(name=stage.name, task_run_name=stage.name, cache_policy=NO_CACHE, persist_result=False)
    def perform() -> State[Artifact]:
        context = TaskRunContext.get()
        links = {"prefect.task_run_id": str(context.task_run.id)} if context else {}
        links["prefect.flow_run_id"] = run.prefect_flow_run_id or ""
        artifact, cached, why = stage.ensure(run, config, inputs, links)
        if not cached:
            create_markdown_artifact(key=stage.name, markdown=_markdown(run, stage, artifact, why))
        return Completed(name="Cached" if cached else "Completed", message=one_line(why, 500), data=artifact)

    result: Artifact = perform()
    return result


def _markdown(run: runs.Run, stage: Stage, artifact: Artifact, why: str) -> str:
    from tasks.tracking import flatten

    rows = [f"| {name} | {value} |" for name, value in flatten(artifact.summary()) if isinstance(value, int | float)]
    entry = [
        f"# {stage.name}",
        f"MLflow run `{run.mlflow_run_id}`, unveil run `{run.run_id}`, computed because {_escaped(why)}.",
        "| metric | value |\n| --- | --- |",
    ]
    return "\n\n".join(entry[:2]) + "\n\n" + "\n".join([entry[2], *rows])


def _escaped(text: str) -> str:
    import html

    return html.escape(one_line(text, 300)).replace("|", "\\|")


__all__ = ["Stage", "UnveilError"]
