"""From what each model makes of each document to numbers with intervals, overall and for each domain."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.evaluation.bootstrap import interval, ratio_replicates
from tasks.evaluation.records import ALL_DOMAINS, Record, rounded_or_none

Floats = NDArray[np.float64]
MODEL = "model"
BITS_PER_BYTE, MASKED_LOSS = "bits_per_byte", "masked_loss"
DIFFERENCE = "difference"


@dataclass(frozen=True)
class Scores:
    """Total -ln p of every document under every model; arrays have one entry per document."""

    metric: str
    ids: tuple[str, ...]
    domains: NDArray[np.str_]
    nats: Mapping[str, Floats]  # by model: the network first, then what it is compared with
    predictions: NDArray[np.int64]  # tokens predicted, the same for every model
    bytes: NDArray[np.int64]
    method: str

    @property
    def sizes(self) -> NDArray[np.int64]:
        """What a total is divided by: bytes for bits per byte, hidden words for the loss at hidden words."""
        return self.bytes if self.metric == BITS_PER_BYTE else self.predictions

    @property
    def parts(self) -> Floats:
        """(documents, models) what is summed above the line: bits, or nats for hidden words."""
        scale = math.log(2.0) if self.metric == BITS_PER_BYTE else 1.0
        return np.column_stack(list(self.nats.values())) / scale

    @property
    def unit(self) -> str:
        """The unit of the ratio."""
        return "bits per byte" if self.metric == BITS_PER_BYTE else "nats per hidden word"

    def rows(self) -> Iterator[dict[str, Any]]:
        """One row of `records.DOCUMENTS` for each model and document."""
        for name, nats in self.nats.items():
            for place, identity in enumerate(self.ids):
                yield {
                    "id": identity,
                    "domain": str(self.domains[place]),
                    "model": name,
                    "metric": self.metric,
                    "nats": rounded_or_none(nats[place]),
                    "predictions": int(self.predictions[place]),
                    "bytes": int(self.bytes[place]),
                }


def compare(scores: Scores, samples: int, seed: int) -> Iterator[Record]:
    """Every model's ratio, and the network's less each other model's, overall and by domain.

    A difference below zero means that the network is better. Its interval is paired: both models are judged
    on the same drawings of documents. One document alone has no interval.
    """
    for domain in (ALL_DOMAINS, *sorted(set(scores.domains.tolist()))):
        chosen = np.ones(len(scores.ids), bool) if domain == ALL_DOMAINS else scores.domains == domain
        yield from _compare_domain(scores, chosen, domain, samples, seed)


def with_differences(ratios: Floats) -> Floats:
    """Append to (..., models) the first model's ratio less each other's: (..., 2 * models - 1)."""
    return np.concatenate([ratios, ratios[..., :1] - ratios[..., 1:]], axis=-1)


def _compare_domain(
    scores: Scores, chosen: NDArray[np.bool_], domain: str, samples: int, seed: int
) -> Iterator[Record]:
    parts, sizes, alone = scores.parts[chosen], scores.sizes[chosen], chosen.sum() == 1
    values = with_differences(parts.sum(axis=0) / sizes.sum())
    drawn = None if alone else with_differences(ratio_replicates(parts, sizes, samples, seed))
    how = "no interval: one document" if alone else f"bootstrap over documents, {samples} draws"
    for place, (metric, model, baseline, method) in enumerate(_labels(scores)):
        low, high = (None, None) if drawn is None else interval(drawn[:, place])
        yield Record(
            suite="language_modelling",
            metric=metric,
            model=model,
            baseline=baseline,
            domain=domain,
            value=float(values[place]),
            low=low,
            high=high,
            n=len(sizes),
            unit=scores.unit,
            method=f"{method}; {how}",
        )


def _labels(scores: Scores) -> list[tuple[str, str, str, str]]:
    """Metric, model, baseline and method of each of the columns of `with_differences`."""
    first, *others = scores.nats
    ratios = [(scores.metric, name, "", scores.method) for name in scores.nats]
    return ratios + [(f"{scores.metric}_{DIFFERENCE}", first, name, "paired") for name in others]
