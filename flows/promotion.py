"""Let a new model compete with the champion, register it, and hand over the title if it earned it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.evaluation import examine
from flows.finetuning import finetune
from flows.orchestrated import flow
from flows.preparation import Prepared, prepare
from flows.presets import Preset
from flows.pretraining import pretrain
from flows.running import run_flow
from flows.settings import RunConfig
from tasks import runs, stages
from tasks.artifacts import Artifact
from tasks.environment import workspace
from tasks.errors import ArtifactError, ConfigError, one_line
from tasks.tracking import Tracker

if TYPE_CHECKING:
    from tasks.promotion.decision import Decision
    from tasks.registry import Registry

PROMOTE, REFUSE, INCONCLUSIVE, ALREADY = "promote", "refuse", "inconclusive", "champion"
_ROLLED_BACK = "this model was rolled back by a person: {why}"


@flow(name="promotion", flow_run_name="promotion-{preset}")
def promotion(preset: Preset = "demo", settings: dict[str, Any] | None = None) -> dict[str, Any]:
    """Bring the model and its evaluation up to date and let it compete; returns the run's ledger."""

    def compose(config: RunConfig) -> None:
        prepared = prepare(config)
        model = pretrain(config, prepared)
        heads = finetune(config, prepared, model)
        compete(config, prepared, model, heads, examine(config, prepared, model, heads))

    return run_flow("promotion", compose, preset, settings)


def compete(
    config: RunConfig,
    prepared: Prepared,
    model: Artifact,
    heads: Mapping[str, Artifact],
    records: Artifact,
    *,
    approve: str = "",
) -> dict[str, Any]:
    """Decide about a model, register it and move the aliases.

    Args:
        config: the run's.
        prepared: what preparation made.
        model: the pretrained model.
        heads: the fine-tuned ones.
        records: the evaluation of all of them.
        approve: a person's reason to promote the model although the gates are unsure.

    Returns:
        ``verdict`` (promote, refuse, inconclusive, or champion when it is that already), ``version``, what
        decided in one line as ``summary``, and ``reasons``, one sentence for each gate. Nothing when stages
        are only inspected.
    """
    artifacts = {
        "cleaning": prepared.clean,
        "tokenization": prepared.tokens,
        "pretraining": model,
        "evaluation": records,
        **{head.stage: head for head in heads.values()},
    }
    return contend(config, artifacts, approve=approve)


def contend(config: RunConfig, artifacts: Mapping[str, Artifact], *, approve: str = "") -> dict[str, Any]:
    """Like `compete`, with the candidate's artefacts by stage."""
    run = runs.current()
    if run is None:
        raise ConfigError("was called outside a run", stage="promotion", remedy="use tasks.runs.running")
    registry = _registry(run.tracker, config)
    if run.inspect:
        _inspect(config, artifacts, registry)
        return {}
    try:
        reference = registry.reference(artifacts)
    except ArtifactError as error:
        outcome = _act(registry, artifacts, _unsure(error), None, approve)
        run.note("promotion", outcome)
        return outcome
    against = reference.version if reference else ""
    try:
        _decide(config, artifacts, reference.artifacts if reference else {})
    finally:
        # A run that was asked to stop at this stage registers what it decided, too.
        entry = run.stages.get("promotion", {})
        if entry.get("artifact"):
            decision = _read(Path(entry["artifact"]))
            outcome = _act(registry, artifacts, decision, against, approve)
            run.note("promotion", outcome)
    return outcome


def origin(name: str, clean: Artifact) -> Mapping[str, Artifact] | None:
    """The artefacts, by stage and verified, of the model that a retraining goes on from; None while there is none.

    It is the champion. Where the champion came from a retraining on these very documents, it is the model that
    one went on from: asked for again, or killed after the title had changed hands, a retraining is then
    answered from the store, and does not read the same text once more.

    Args:
        name: the registered model.
        clean: the documents to be read.

    Raises:
        ArtifactError: an artefact of that model is gone or altered.
    """
    from tasks.registry import Registry

    run = runs.current()
    registry = Registry(run.tracker if run else Tracker(workspace()), name)
    found = registry.champion()
    if found is None:
        return None
    parent = found.artifacts["pretraining"].manifest().key["inputs"].get("champion")
    if parent is None or found.artifacts["cleaning"].content != clean.content:
        return found.artifacts
    number = registry.holding("pretraining", parent)
    return found.artifacts if number is None else registry.open(number).artifacts


def _decide(config: RunConfig, artifacts: Mapping[str, Artifact], former: Mapping[str, Artifact]) -> Artifact:
    rivals = {f"champion-{stage}": artifact for stage, artifact in former.items()}
    return stages.promotion(config.promotion, **artifacts, **rivals)


def _act(
    registry: Registry,
    artifacts: Mapping[str, Artifact],
    decision: Decision,
    against: str | None,
    approve: str,
) -> dict[str, Any]:
    """Register the model and do what was decided. Doing it twice changes nothing."""
    from tasks import registry as names

    run = runs.current()
    version = registry.register(artifacts, str(run.mlflow_run_id) if run else "")
    reasons, summary = [reason.sentence for reason in decision.reasons], _summary(decision)
    verdict: str = decision.verdict
    if registry.aliases().get(names.CHAMPION) == version.number:
        verdict, summary = ALREADY, f"version {version.number} is the champion already"
    elif verdict == PROMOTE and version.status == names.ROLLED_BACK and not approve:
        verdict, summary = INCONCLUSIVE, _ROLLED_BACK.format(why=version.tags.get(names.REASON, ""))
        reasons.append(summary)
    elif verdict == PROMOTE or (verdict == INCONCLUSIVE and approve):
        verdict, summary = PROMOTE, approve or summary
        registry.promote(version.number, summary, against)
    elif version.status != names.ROLLED_BACK:
        status = names.REFUSED if verdict == REFUSE else names.INCONCLUSIVE
        registry.judge(version.number, status, summary, against)
    return {"verdict": verdict, "version": version.number, "summary": summary, "reasons": reasons}


def _inspect(config: RunConfig, artifacts: Mapping[str, Artifact], registry: Registry) -> None:
    """Report the stage's state without making a tracking store where there is none."""
    former: Mapping[str, Artifact] = {}
    if registry.tracker.exists() and all(artifact.content for artifact in artifacts.values()):
        try:
            reference = registry.reference(artifacts)
        except ArtifactError:
            reference = None
        former = reference.artifacts if reference else {}
    _decide(config, artifacts, former)


def _unsure(error: ArtifactError) -> Decision:
    """The champion is there and cannot be compared with: no silent pass."""
    from tasks.promotion.decision import Decision, Reason

    reason = Reason("champion", "inconclusive", None, None, None, 0.0, 0, str(error))
    return Decision("inconclusive", (reason,))


def _summary(decision: Decision) -> str:
    """What decided: the gates that failed, else those that were unsure, else all of them."""
    for verdict in ("fail", "inconclusive", "pass"):
        told = [one_line(reason.sentence) for reason in decision.reasons if reason.verdict == verdict]
        if told:
            return "; ".join(told)
    return "no gate applied: nothing was measured that a gate asks about"


def _read(folder: Path) -> Decision:
    from tasks.promotion.promote import read_decision

    return read_decision(folder)


def _registry(tracker: Tracker, config: RunConfig) -> Registry:
    from tasks.registry import Registry

    return Registry(tracker, config.promotion.registered_model)
