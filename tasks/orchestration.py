"""What Prefect is told: a stage is one task run in this thread; a vanished run crashed; a corpus has moved."""

from __future__ import annotations

import html
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from tasks import temporary_server
from tasks.artifacts import Artifact
from tasks.errors import one_line
from tasks.naming import flatten

# What a stage's work hands over: the artefact, whether it was there already, and why it was not.
Outcome = tuple[Artifact, bool, str]


def inside_flow() -> bool:
    """Whether a Prefect flow is running here; a process without Prefect need not load it to know."""
    if "prefect" not in sys.modules:
        return False
    from prefect.context import FlowRunContext

    return FlowRunContext.get() is not None


def as_task(stage: str, about: str, work: Callable[[Mapping[str, str]], Outcome]) -> Artifact:
    """Run a stage's work as a Prefect task, in this thread: Lightning handles signals only in the main one.

    Args:
        stage: name of the task.
        about: the runs it belongs to, for the page that Prefect shows about it.
        work: takes the tags that link the MLflow run with Prefect's.
    """
    from prefect import task
    from prefect.artifacts import create_markdown_artifact
    from prefect.cache_policies import NO_CACHE
    from prefect.context import TaskRunContext
    from prefect.states import Completed, State

    @task(name=stage, task_run_name=stage, cache_policy=NO_CACHE, persist_result=False)
    def perform() -> State[Artifact]:
        context = TaskRunContext.get()
        links = {"prefect.task_run_id": str(context.task_run.id)} if context else {}
        artifact, cached, why = work(links)
        if not cached:
            create_markdown_artifact(key=stage, markdown=_page(stage, about, artifact, why))
        return Completed(name="Cached" if cached else "Completed", message=one_line(why, 500), data=artifact)

    # A call without `return_state` hands the state itself back, because the task returns one.
    artifact: Artifact = perform(return_state=True).result()
    return artifact


def show(key: str, markdown: str) -> None:
    """Attach a page to the task that is running, if a flow is; ``key`` names it from run to run."""
    if not inside_flow():
        return
    from prefect.artifacts import create_markdown_artifact

    create_markdown_artifact(key=key.replace("_", "-"), markdown=markdown)


def _page(stage: str, about: str, artifact: Artifact, why: str) -> str:
    numbers = [(name, value) for name, value in flatten(artifact.summary()) if isinstance(value, int | float)]
    rows = [f"| {_escaped(name)} | {value} |" for name, value in numbers]
    table = "\n".join(["| metric | value |", "| --- | --- |", *rows])
    return f"# {stage}\n\n{about}, computed because {_escaped(why)}.\n\n{table}\n"


def _escaped(text: Any) -> str:
    return html.escape(one_line(str(text), 300)).replace("|", "\\|")


def reconcile(flow_run_id: str | None) -> None:
    """Mark a flow run whose process vanished, and its task runs, as crashed: nobody else will.

    Prefect has to be loaded already: in the command that only reads, nothing is started for it.
    """
    if not flow_run_id or "prefect" not in sys.modules:
        return
    from uuid import UUID

    temporary_server.guard()
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
    from prefect.exceptions import ObjectNotFound
    from prefect.states import Crashed

    gone, identity = Crashed(message="process vanished"), UUID(flow_run_id)
    with get_client(sync_client=True) as client:
        with suppress(ObjectNotFound):  # It belongs to another server.
            if not _ended(client.read_flow_run(identity).state):
                client.set_flow_run_state(identity, gone, force=True)
        tasks = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[identity])))
        for task_run in tasks:
            if not _ended(task_run.state):
                client.set_task_run_state(task_run.id, gone, force=True)


def _ended(state: Any) -> bool:
    return state is not None and bool(state.is_final())


def announce(event: str, resource: str, name: str, payload: Mapping[str, Any]) -> str:
    """Emit a Prefect event, to which `prefect.yaml` may tie a trigger; returns its id.

    An automation needs a running server: without one the event is only written down.
    """
    from prefect.events import emit_event

    about = {"prefect.resource.id": resource, "prefect.resource.name": name}
    emitted = emit_event(event=event, resource=about, payload=dict(payload))
    return str(emitted.id) if emitted else ""
