"""The verdict on a model, from paired comparisons alone. Pure: equal questions, equal decision.

A gate compares the model with a reference on the same items and asks whether it is better than the reference
by more than a threshold: nought or more for a baseline that a first model must beat, minus the margin for a
champion that it must not fall behind (non-inferiority). It passes when the whole interval lies on the good
side of the threshold, fails when it lies on the bad side, and is inconclusive otherwise.

One gate that fails refuses the model. It is promoted only when every gate passes, and an unsure gate leaves
the decision to a person: a test set too small to tell must neither promote nor refuse. All gates have to
pass, so no gate needs a stricter level for there being several: the chance to promote a model that is at one
gate exactly as bad as the margin stays below half of ``1 - confidence``, 2.5 % (intersection-union test,
Berger 1982). A model that equals the champion is refused much less often than that, because the whole
interval would have to lie beyond the margin. What several gates do cost is the chance that all pass: with
margins near the intervals' width, equal models end inconclusive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from tasks.evaluation.records import rounded, rounded_or_none
from tasks.promotion.config import PromotionConfig
from tasks.promotion.intervals import Paired, difference_interval

__all__ = ["CHAMPION", "Decision", "PromotionConfig", "Question", "Reason", "decide"]

GateVerdict = Literal["pass", "fail", "inconclusive"]
Verdict = Literal["promote", "refuse", "inconclusive"]
CHAMPION = "champion"


@dataclass(frozen=True)
class Question:
    """One gate before it is judged. ``missing`` tells why there is nothing to compare, if there is not."""

    gate: str
    against: str  # the champion, or a baseline's name
    threshold: float  # by how much the model must be better; below nought: how far it may fall behind
    lower_is_better: bool
    paired: Paired | None = None
    missing: str = ""


@dataclass(frozen=True)
class Reason:
    """One gate's verdict. ``value`` is the model's less the reference's; ``n`` counts documents or items."""

    gate: str
    verdict: GateVerdict
    value: float | None
    low: float | None
    high: float | None
    margin: float
    n: int
    sentence: str


@dataclass(frozen=True)
class Decision:
    """The verdict and what it stands on."""

    verdict: Verdict
    reasons: tuple[Reason, ...]

    def as_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {"verdict": self.verdict, "reasons": [asdict(reason) for reason in self.reasons]}


def decide(questions: Sequence[Question], config: PromotionConfig) -> Decision:
    """Judge every gate, then the model. No gate at all is inconclusive: silence is no consent."""
    reasons = tuple(_judge(question, config) for question in questions)
    verdicts = {reason.verdict for reason in reasons}
    if "fail" in verdicts:
        return Decision("refuse", reasons)
    return Decision("promote" if verdicts == {"pass"} else "inconclusive", reasons)


def _judge(question: Question, config: PromotionConfig) -> Reason:
    if question.paired is None:
        return _unsure(question, question.missing or "there is nothing to compare")
    n = len(question.paired.clusters)
    if question.paired.cluster_count < config.minimum_clusters:
        few = f"only {question.paired.cluster_count} independent cases to compare on"
        return _unsure(question, f"{few}, {config.minimum_clusters} are asked for", n)
    if not question.paired.sizes.sum() > 0:
        return _unsure(question, "what there is to compare on is empty", n)
    low, high = difference_interval(question.paired, config.confidence, config.bootstrap_samples, config.seed)
    own, other = question.paired.values()
    worst, best = (-high, -low) if question.lower_is_better else (low, high)
    verdict: GateVerdict = "inconclusive"
    if worst > question.threshold:
        verdict = "pass"
    elif best < question.threshold:
        verdict = "fail"
    measured = (
        f"{own:.4f} against {other:.4f} of the {question.against} on {n:,} cases, "
        f"difference {own - other:+.4f} ({100 * config.confidence:g} % interval {low:+.4f} to {high:+.4f})"
    )
    return Reason(
        gate=question.gate,
        verdict=verdict,
        value=rounded(own - other),
        low=rounded_or_none(low),
        high=rounded_or_none(high),
        margin=question.threshold,
        n=n,
        sentence=f"{question.gate}: {measured}; {_meaning(question, verdict)}",
    )


def _unsure(question: Question, why: str, n: int = 0) -> Reason:
    sentence = f"{question.gate}: {why}"
    return Reason(question.gate, "inconclusive", None, None, None, question.threshold, n, sentence)


def _meaning(question: Question, verdict: GateVerdict) -> str:
    margin = abs(question.threshold)
    if question.threshold < 0:
        return {
            "pass": f"not worse by more than the margin of {margin:g}",
            "fail": f"worse by more than the margin of {margin:g}",
            "inconclusive": f"the interval crosses the margin of {margin:g}: too unsure to tell",
        }[verdict]
    wanted = f"better by more than {margin:g}" if margin else "better"
    return {
        "pass": wanted,
        "fail": f"not {wanted}",
        "inconclusive": f"the interval does not show that it is {wanted}",
    }[verdict]
