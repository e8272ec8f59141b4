"""The promotion stage: may this model take the champion's place? It decides and writes; it registers nothing."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

from tasks.artifacts import Artifact, canonical_json, write_synced
from tasks.config import Summary
from tasks.errors import ArtifactError
from tasks.promotion import page
from tasks.promotion.compare import PREFIX, questions
from tasks.promotion.config import PromotionConfig
from tasks.promotion.decision import Decision, Reason, decide

logger = logging.getLogger(__name__)

DECISION = "decision.json"


class GateSummary(Summary):
    """One gate; a comparison that could not be made has no numbers."""

    verdict: str
    value: float | None
    low: float | None
    high: float | None
    margin: float
    n: int


class PromotionSummary(Summary):
    """The verdict, and each gate's."""

    verdict: str
    first: bool
    passed: int
    failed: int
    inconclusive: int
    gates: dict[str, GateSummary]


def promote(inputs: Mapping[str, Artifact], config: PromotionConfig, folder: Path) -> PromotionSummary:
    """Compare a model with the champion, or with the baselines when there is none, and decide.

    Writes ``decision.json`` (the verdict, every gate's numbers, and which artefacts were compared),
    ``decision.md`` and ``decision.html``.

    Args:
        inputs: ``evaluation``, ``pretraining``, ``cleaning``, ``tokenization`` and the fine-tuned models of
            the challenger; those of the champion under ``champion-<stage>``.
        config: the gates.
        folder: where to write.

    Raises:
        ArtifactError: a table or a model cannot be read.
    """
    decision = decide(questions(inputs, config, folder), config)
    first = not any(name.startswith(PREFIX) for name in inputs)
    against = "the baselines, for there is no champion" if first else "the champion"
    described = decision.as_dict() | {
        "first": first,
        "confidence": config.confidence,
        "compared": {name: artifact.content for name, artifact in sorted(inputs.items())},
    }
    write_synced(folder / DECISION, canonical_json(described, indent=1))
    write_synced(folder / "decision.md", page.markdown(decision, against))
    write_synced(folder / "decision.html", page.html(decision, against))
    logger.info("promotion: %s", decision.verdict)
    return _summarise(decision, first)


def read_decision(folder: Path) -> Decision:
    """The decision of a promotion artefact.

    Raises:
        ArtifactError: it cannot be read.
    """
    path = folder / DECISION
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Decision(content["verdict"], tuple(Reason(**reason) for reason in content["reasons"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"is not a decision ({error!r})", where=path, remedy="delete its folder and run again"
        ) from error


def _summarise(decision: Decision, first: bool) -> PromotionSummary:
    counts = {
        name: sum(r.verdict == name for r in decision.reasons) for name in ("pass", "fail", "inconclusive")
    }
    gates = {
        reason.gate: GateSummary.model_validate(reason, from_attributes=True) for reason in decision.reasons
    }
    return PromotionSummary(
        verdict=decision.verdict,
        first=first,
        passed=counts["pass"],
        failed=counts["fail"],
        inconclusive=counts["inconclusive"],
        gates=gates,
    )
