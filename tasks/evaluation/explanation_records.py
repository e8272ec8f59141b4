"""What was measured at each explained text, and the numbers with intervals that it comes to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tasks.evaluation.bootstrap import interval, ratio_replicates
from tasks.evaluation.findings import Item
from tasks.evaluation.records import Record

if TYPE_CHECKING:
    from models.attribution import Attribution

SUITE = "explanation"
GRADIENTS, CHANCE = "integrated gradients", "random"
CHANCES = 3  # random attributions of each text, averaged: one alone is mostly noise
MEANINGS = {
    "comprehensiveness": "probability lost without the most important 10, 20 and 50 % of the tokens; high is good",
    "sufficiency": "probability lost with nothing but the most important 10, 20 and 50 %; low is good",
}


@dataclass
class Examined:
    """What was measured at one text."""

    id: str
    cluster: str
    attribution: Attribution
    faithfulness: dict[tuple[str, str, str], float]  # by measure, removal and who explains
    shown: dict[str, Any]
    rank_correlation: float | None = None  # with the explanation of random weights


@dataclass
class Task:
    """The explained texts of one fine-tuned model."""

    name: str
    texts: list[Examined] = field(default_factory=list)


def records(task: Task, samples: int, seed: int) -> Iterator[Record]:
    """Every number of a task, with the interval that drawing the texts anew gives."""
    errors = np.array([each.attribution.completeness_error for each in task.texts])
    steps = max(each.attribution.trials[-1][0] for each in task.texts)
    told = f"|sum of scores - gain| / |gain|, at most {steps} steps"
    for metric, value in (("median", np.median(errors)), ("max", errors.max())):
        yield _record(
            task, f"completeness_error_{metric}", GRADIENTS, float(value), told, unit="share of the gain"
        )
    for measure, removal in [(m, r) for m in MEANINGS for r in _removals(task)]:
        yield from _compared(task, measure, removal, samples, seed)
    correlated = [each for each in task.texts if each.rank_correlation is not None]
    correlations = np.array([each.rank_correlation for each in correlated], dtype=np.float64)
    if correlated:
        yield _record(
            task,
            "randomised_weights_rank_correlation",
            GRADIENTS,
            float(correlations.mean()),
            "Spearman between the scores of the trained and of a randomised model, mean over texts; must be near 0",
            unit="correlation",
            bounds=_bounds(correlations, correlated, samples, seed),
            n=len(correlated),
        )


def _compared(task: Task, measure: str, removal: str, samples: int, seed: int) -> Iterator[Record]:
    by = {
        who: np.array([each.faithfulness[measure, removal, who] for each in task.texts])
        for who in (GRADIENTS, CHANCE)
    }
    ours = by[GRADIENTS] - by[CHANCE]
    method = f"{MEANINGS[measure]}; random: mean of {CHANCES}"
    for metric, who, baseline, values in (
        (measure, GRADIENTS, "", by[GRADIENTS]),
        (measure, CHANCE, "", by[CHANCE]),
        (f"{measure}_difference", GRADIENTS, CHANCE, ours),
    ):
        yield _record(
            task,
            metric,
            who,
            float(values.mean()),
            f"paired; {method}" if baseline else method,
            removal=removal,
            baseline=baseline,
            bounds=_bounds(values, task.texts, samples, seed),
        )


def _bounds(
    values: NDArray[np.float64], texts: Sequence[Examined], samples: int, seed: int
) -> tuple[float, float] | None:
    """The 95 % interval of the mean; texts of one cluster are drawn together, and one cluster has none."""
    _, places = np.unique([each.cluster for each in texts], return_inverse=True)
    if places.max() == 0:
        return None
    sums = np.bincount(places, values).astype(np.float64)
    return interval(
        ratio_replicates(sums[:, None], np.bincount(places).astype(np.int64), samples, seed)[:, 0]
    )


def _record(
    task: Task,
    metric: str,
    model: str,
    value: float,
    method: str,
    *,
    removal: str = "",
    baseline: str = "",
    unit: str = "probability",
    bounds: tuple[float, float] | None = None,
    n: int = 0,
) -> Record:
    low, high = bounds or (None, None)
    return Record(
        suite=SUITE,
        metric=metric,
        model=model,
        baseline=baseline,
        condition=f"{task.name}, {removal}" if removal else task.name,
        value=value,
        low=low,
        high=high,
        n=n or len(task.texts),
        unit=unit,
        method=method,
    )


def _removals(task: Task) -> list[str]:
    return list(dict.fromkeys(removal for _, removal, _ in task.texts[0].faithfulness))


def items(task: Task) -> Iterator[Item]:
    """One row for every number of every text."""
    name = f"{SUITE}_{task.name}"
    for each in task.texts:
        error = each.attribution.completeness_error
        yield Item(name, "completeness_error", each.id, each.cluster, GRADIENTS, error)
        for (measure, removal, who), value in each.faithfulness.items():
            yield Item(name, f"{measure}_{removal}", each.id, each.cluster, who, value)
