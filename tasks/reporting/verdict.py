"""The sentences that judge, derived from intervals and never from the bare difference of two numbers."""

from __future__ import annotations

from tasks.reporting.blocks import Bounds, Cell
from tasks.reporting.sources import Evidence, Row

ALL_DOMAINS = "(all)"
_NAMES = {"model": "our model", "unigram": "unigram", "uniform": "uniform (floor)"}


def measure(evidence: Evidence) -> str:
    """The metric a model of this objective is judged by."""
    return "masked_loss" if evidence.objective == "masked" else "bits_per_byte"


def unit(evidence: Evidence) -> str:
    """The unit of that metric."""
    return "nats per hidden word" if evidence.objective == "masked" else "bits per byte"


def model_names(name: str) -> str:
    """What a model of the records is called in the report."""
    order = name.removeprefix("kneser_ney_")
    return _NAMES.get(name, f"Kneser-Ney {order}-gram" if order != name else name)


def estimate(row: Row | None, mark: float | None = None) -> tuple[Cell, Cell]:
    """A number and its interval, as two cells; ``mark`` is what the interval is to be held against."""
    if row is None:
        return None, None
    value = float(row["value"])
    if row["low"] is None or row["high"] is None:
        return value, None
    return value, Bounds(row["low"], row["high"], value, mark, row["metric"])


def rival(evidence: Evidence) -> Row:
    """The difference to the best of the other models, by value."""
    metric = measure(evidence)
    values = {row["model"]: row["value"] for row in evidence.find(metric, domain=ALL_DOMAINS)}
    gaps = evidence.find(f"{metric}_difference", domain=ALL_DOMAINS)
    return min(gaps, key=lambda row: (values[row["baseline"]], row["baseline"]))


def standing(evidence: Evidence) -> str:
    """``better``, ``worse`` or ``undecided`` against the best of the other models."""
    gap = rival(evidence)
    if gap["low"] is None:
        return "undecided"
    return "better" if gap["high"] < 0 else "worse" if gap["low"] > 0 else "undecided"


def verdict(evidence: Evidence) -> str:
    """How the model stands to the best older model, in one sentence."""
    gap, unit_name = rival(evidence), unit(evidence)
    against = f"the best older model (the {model_names(gap['baseline'])})"
    how_much = f"{abs(gap['value']):.3f} {unit_name}"
    if gap["low"] is None:
        word = "less" if gap["value"] < 0 else "more"
        return f"The model needs {how_much} {word} than {against}, on one document: this decides nothing."
    bounds = sorted((abs(gap["low"]), abs(gap["high"])))
    interval = f"(95 % interval {bounds[0]:.3f} to {bounds[1]:.3f})"
    match standing(evidence):
        case "better":
            return f"**The model is better than {against}** by {how_much} {interval}."
        case "worse":
            return f"**The model is worse than {against}** by {how_much} {interval}."
    return (
        f"**The model cannot be told apart from {against}**: the difference is {gap['value']:+.3f} "
        f"{unit_name} (95 % interval {gap['low']:+.3f} to {gap['high']:+.3f})."
    )
