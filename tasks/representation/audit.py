"""The audit as numbers: mentions per million words, and shares of mentions with something near, each with its interval.

Documents are drawn anew for the intervals, not mentions, since a document that names somebody once names them again
(`tasks.evaluation.clustered`). Nothing here says what a text means: a word near another is no judgement.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import Field, field_validator

from tasks.config import StageConfig
from tasks.evaluation.clustered import METHOD, Mean, clustered_mean
from tasks.evaluation.findings import Findings
from tasks.evaluation.records import ALL_DOMAINS, Record
from tasks.representation.counting import BLAME, OCCUPATION, PRAISE, Counting, Tally
from tasks.representation.lexicon import GENDERS, groups
from tasks.representation.tallies import FILE, row, table

SUITE = "representation"
RATE, WOMEN = "mentions_per_million_words", "women_share_near_occupation"
MILLION = 1e6
NEAR, ANYWHERE = "share_near_", "anywhere"
_NEVER = "never named: the upper bound is the rule of three, 3 over the words"


class RepresentationConfig(StageConfig):
    """What counts as near, and from how many mentions on a share is told."""

    window: int = Field(10, ge=1, le=200, description="Words to either side that count as near.")
    least_mentions: int = Field(
        20, ge=2, le=1_000_000, description="Mentions from which on shares of a group are told."
    )
    occupations_shown: int = Field(20, ge=0, le=100, description="Occupations to tell women's share for.")
    extra_groups: dict[str, tuple[str, ...]] = Field(
        {}, max_length=200, description="Groups of your own, each with its words or pairs of words."
    )

    @field_validator("extra_groups")
    @classmethod
    def _words_are_of_one_group(cls, extra: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        groups(extra)
        return extra


def examine_representation(
    documents: Iterable[Mapping[str, str]], config: RepresentationConfig, *, samples: int, seed: int
) -> Findings:
    """Count in the text of documents (``id``, ``text``, ``domain``), and tell it with 95 % intervals.

    What each document says is handed over too, for a comparison with other corpora.
    """
    lexicon = groups(config.extra_groups)
    counting = Counting(lexicon, config.window)
    tallies: list[Tally] = []
    domains: list[str] = []
    rows: list[dict[str, Any]] = []
    for document in documents:
        tallies.append(counting.of(document["text"]))
        domains.append(document["domain"])
        rows.append(row(document, tallies[-1]))
    findings = Findings(tables={FILE: table(rows, lexicon, config.window)})
    if sum(tally.words for tally in tallies):
        names = sorted(set(lexicon.values()))
        findings.add(_rates(tallies, domains, names, samples, seed))
        findings.add(_shares(tallies, names, config, samples, seed))
        findings.add(_women(tallies, config, samples, seed))
    return findings


def _rates(
    tallies: Sequence[Tally], domains: Sequence[str], names: Sequence[str], samples: int, seed: int
) -> Iterator[Record]:
    for domain in (ALL_DOMAINS, *sorted(set(domains))):
        chosen = [t for t, own in zip(tallies, domains, strict=True) if domain in (ALL_DOMAINS, own)]
        sizes = [tally.words for tally in chosen]
        if not sum(sizes):
            continue
        for name in names:
            counts = [tally.mentions[name] for tally in chosen]
            mean, method = _rate(counts, sizes, samples, seed)
            yield _record(RATE, name, mean, "mentions per million words", method, domain)


def _rate(counts: Sequence[int], sizes: Sequence[int], samples: int, seed: int) -> tuple[Mean, str]:
    if not sum(counts):
        return Mean(0.0, 0.0, MILLION * 3 / sum(sizes), len(counts)), _NEVER
    mean = clustered_mean(counts, np.arange(len(counts)), samples=samples, seed=seed, sizes=sizes)
    low, high = (None if bound is None else MILLION * bound for bound in (mean.low, mean.high))
    return Mean(MILLION * mean.value, low, high, mean.n), METHOD


def _shares(
    tallies: Sequence[Tally], names: Sequence[str], config: RepresentationConfig, samples: int, seed: int
) -> Iterator[Record]:
    method = f"within {config.window} words; {METHOD}"
    for name in names:
        naming = [tally for tally in tallies if tally.mentions[name]]
        if sum(tally.mentions[name] for tally in naming) < config.least_mentions:
            continue
        for kind in (OCCUPATION, PRAISE, BLAME):
            mean = _share(
                [tally.near[name, kind] for tally in naming],
                [tally.mentions[name] for tally in naming],
                samples,
                seed,
            )
            yield _record(NEAR + kind, name, mean, "share of mentions", method)


def _women(
    tallies: Sequence[Tally], config: RepresentationConfig, samples: int, seed: int
) -> Iterator[Record]:
    """Of the mentions of women and men, the share of women: near each occupation, and anywhere."""
    women, men = GENDERS
    method = f"women among women and men named within {config.window} words; {METHOD}"
    seen = sum((tally.occupations for tally in tallies), start=type(tallies[0].occupations)())
    known = sorted({occupation for _, occupation in seen})
    counts = {name: seen[women, name] + seen[men, name] for name in known}
    often = sorted(known, key=lambda name: (-counts[name], name))[: config.occupations_shown]
    for occupation in ("", *often):
        if occupation and counts[occupation] < config.least_mentions:
            continue
        pairs = [
            (t.occupations[women, occupation], t.occupations[men, occupation])
            if occupation
            else (t.mentions[women], t.mentions[men])
            for t in tallies
        ]
        pairs = [pair for pair in pairs if sum(pair)]
        if pairs:
            mean = _share([pair[0] for pair in pairs], [sum(pair) for pair in pairs], samples, seed)
            yield _record(WOMEN, occupation or ANYWHERE, mean, "share of women", method)


def _share(hits: Sequence[int], sizes: Sequence[int], samples: int, seed: int) -> Mean:
    """A share by document; where all or none hit, no drawing anew would show what might have been."""
    mean = clustered_mean(hits, np.arange(len(hits)), samples=samples, seed=seed, sizes=sizes)
    reach = min(1.0, 3 / len(hits))
    if sum(hits) in (0, sum(sizes)):
        bounds = (0.0, reach) if not sum(hits) else (1.0 - reach, 1.0)
        return Mean(mean.value, *bounds, mean.n)
    return mean


def _record(
    metric: str, condition: str, mean: Mean, unit: str, method: str, domain: str = ALL_DOMAINS
) -> Record:
    return Record(
        suite=SUITE,
        metric=metric,
        model="",
        condition=condition,
        domain=domain,
        split="train",
        unit=unit,
        method=method,
        **mean.fields(),
    )
