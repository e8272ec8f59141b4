"""Does a classifier judge a sentence differently when only the word changes that says who somebody is?

Counterfactual token fairness (Garg et al. 2019, arXiv:1809.10610): how far the probability of a label moves
between two sentences that differ in an identity word. Any word moves it a little, so the same is measured with
words that say nothing about a person's identity, as many and as long in tokens: what counts is the excess.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.evaluation.bootstrap import interval
from tasks.evaluation.comparison import DIFFERENCE, MODEL
from tasks.evaluation.findings import Findings, Item
from tasks.evaluation.identity_templates import IDENTITIES, NEUTRAL_WORDS, TEMPLATES, Template
from tasks.evaluation.proportions import benjamini_hochberg
from tasks.evaluation.records import ALL_DOMAINS, Record, rounded

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from models.heads import Classifier

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SUITE = "identity_swaps"
GAP, FLIPS = "ctf_gap", "flip_rate"
NEUTRAL = "neutral_words"
_POSITIVE = "positive"
_WORST = 10


class _Words(NamedTuple):
    """Places of words: an attribute's (k,), and drawings of as many in their stead (samples, k).

    ``unrelated`` has neutral words only. ``mixed`` draws from the neutral words and the attribute's own: were
    these like any others, every such drawing would be as likely as the attribute's words, which makes the share
    of drawings that differ as much an exact p-value.
    """

    own: Ints
    unrelated: Ints
    mixed: Ints


class _Attribute(NamedTuple):
    """One measure of one attribute; differences are means over all pairs of words."""

    name: str
    swaps: int  # pairs of words in all sentences
    observed: Floats  # (templates,)
    neutral: Floats  # (templates, drawings) the same of neutral words
    mixed: Floats  # (drawings,) of neutral and own words, mean over templates

    @property
    def usual(self) -> Floats:
        """(templates,) what neutral words make on average."""
        mean: Floats = self.neutral.mean(1)
        return mean

    @property
    def drawn(self) -> Floats:
        """(drawings,) what neutral words make in all templates."""
        mean: Floats = self.neutral.mean(0)
        return mean

    @property
    def chance(self) -> float:
        """How often words drawn from the attribute's own and the neutral ones differ as much."""
        reached = int((self.mixed >= self.observed.mean() - 1e-12).sum())
        return (1 + reached) / (1 + len(self.mixed))


def examine_swaps(
    head: Classifier,
    tokenizer: Tokenizer,
    *,
    max_tokens: int,
    samples: int,
    seed: int,
    identities: Mapping[str, Sequence[str]] = IDENTITIES,
    neutral: Sequence[str] = NEUTRAL_WORDS,
    templates: Sequence[Template] = TEMPLATES,
) -> Findings:
    """Exchange identity words in our sentences and see what the classifier makes of it.

    Args:
        head: a classifier; of its labels ``positive`` is looked at, or every one where there is none such.
        tokenizer: its own.
        max_tokens: tokens of a sentence to read at most.
        samples: drawings of neutral words, and of the bootstrap over sentences.
        seed: of both.
        identities: for each attribute the words to exchange, at least two.
        neutral: words to compare with; at least as many as any attribute has.
        templates: sentences with a gap.

    Raises:
        ValueError: there are fewer neutral words than an attribute has words.
    """
    from models.classification import classify

    if len(neutral) < max(map(len, identities.values())):
        raise ValueError(f"{len(neutral)} neutral words are too few to stand for an attribute's words")
    words = [*(word for group in identities.values() for word in group), *neutral]
    texts = [template.text.format(word) for template in templates for word in words]
    probabilities = classify(head, tokenizer, texts, max_tokens=max_tokens).reshape(
        len(templates), len(words), len(head.labels)
    )
    chosen = _choose(identities, tokenizer, words, neutral, samples, seed)
    findings = Findings(shown={SUITE: _shown(probabilities, head.labels, identities, templates)})
    looked_at = [_POSITIVE] if _POSITIVE in head.labels else list(head.labels)
    for label in looked_at:
        column = probabilities[:, :, head.labels.index(label)]
        _report(findings, GAP, label, np.abs(column[:, :, None] - column[:, None, :]), chosen, seed)
    winner = probabilities.argmax(-1)
    _report(findings, FLIPS, "", (winner[:, :, None] != winner[:, None, :]) * 1.0, chosen, seed)
    return findings


def _choose(
    identities: Mapping[str, Sequence[str]],
    tokenizer: Tokenizer,
    words: Sequence[str],
    neutral: Sequence[str],
    samples: int,
    seed: int,
) -> dict[str, _Words]:
    """For every attribute the places of its words, and of those drawn in their stead."""
    lengths = np.array([len(tokenizer.encode(f" {word}", add_special_tokens=False).ids) for word in words])
    others = np.arange(len(words) - len(neutral), len(words))
    edges = np.unique(np.quantile(lengths[others], (1 / 3, 2 / 3)))
    bins = np.searchsorted(edges, lengths)
    found, start = {}, 0
    for number, (name, group) in enumerate(identities.items()):
        own = np.arange(start, start + len(group))
        start += len(group)
        generator = np.random.default_rng([seed, number])
        unrelated = _draw(own, others, bins, samples, generator)
        found[name] = _Words(own, unrelated, _draw(own, np.r_[own, others], bins, samples, generator))
    return found


def _draw(own: Ints, pool: Ints, bins: Ints, samples: int, generator: np.random.Generator) -> Ints:
    """As many words of the pool as there are own ones, (samples, k): of each third of lengths as many.

    Lengths do not matter where a third has too few words to choose from.
    """
    kinds, counts = np.unique(bins[own], return_counts=True)
    if any((bins[pool] == kind).sum() < 2 * count for kind, count in zip(kinds, counts, strict=True)):
        bins, kinds, counts = np.zeros_like(bins), np.array([0]), np.array([len(own)])
    parts = []
    for kind, count in zip(kinds, counts, strict=True):
        candidates = pool[bins[pool] == kind]
        order = generator.random((samples, len(candidates))).argsort(axis=1)
        parts.append(candidates[order[:, :count]])
    return np.concatenate(parts, axis=1)


def _report(
    findings: Findings,
    metric: str,
    condition: str,
    differences: Floats,
    chosen: Mapping[str, _Words],
    seed: int,
) -> None:
    """Numbers and items of one measure: ``differences`` (templates, words, words)."""
    attributes = [_attribute(name, differences, words) for name, words in chosen.items()]
    findings.items.extend(item for each in attributes for item in _items(each, metric, condition))
    overall = _Attribute(
        ALL_DOMAINS,
        sum(each.swaps for each in attributes),
        np.mean([each.observed for each in attributes], axis=0),
        np.mean([each.neutral for each in attributes], axis=0),
        np.mean([each.mixed for each in attributes], axis=0),
    )
    corrected = benjamini_hochberg([each.chance for each in attributes])
    tests = [
        (overall, overall.chance, "permutation of own and neutral words"),
        *(
            (
                each,
                q,
                f"permutation of own and neutral words, Benjamini-Hochberg over {len(attributes)} attributes",
            )
            for each, q in zip(attributes, corrected, strict=True)
        ),
    ]
    for each, q, how in tests:
        findings.add(_records(each, metric, condition, seed))
        findings.add(
            [Record(SUITE, f"{metric}_q", MODEL, q, each.swaps, "q", how, NEUTRAL, condition, each.name)]
        )


def _attribute(name: str, differences: Floats, words: _Words) -> _Attribute:
    pairs = np.array(list(combinations(range(len(words.own)), 2)))

    def mean(places: Ints) -> Floats:
        """(templates, ...) over all pairs of the words at (..., k) places."""
        found: Floats = differences[:, places[..., pairs[:, 0]], places[..., pairs[:, 1]]].mean(-1)
        return found

    swaps = len(pairs) * len(differences)
    return _Attribute(name, swaps, mean(words.own), mean(words.unrelated), mean(words.mixed).mean(0))


def _records(each: _Attribute, metric: str, condition: str, seed: int) -> Iterator[Record]:
    """What neutral words make, what the attribute's words make, and how much more that is.

    The excess is over one drawing of neutral words, as the attribute's words are one choice too: its interval
    has both the chance of the sentences and that of the words.
    """
    unit = "probability" if metric == GAP else "share of swaps"
    sentences, samples = each.neutral.shape
    at = np.random.default_rng(seed).integers(sentences, size=(samples, sentences))
    observed = each.observed[at].mean(1)
    excess = observed - each.neutral[at, np.arange(samples)[:, None]].mean(1)
    how = f"bootstrap over {sentences} sentences, {samples} draws"
    for model, name, baseline, value, drawn, method in (
        (NEUTRAL, metric, "", each.drawn.mean(), each.drawn, f"{samples} drawings of words of similar length"),
        (MODEL, metric, "", each.observed.mean(), observed, how),
        (
            MODEL, f"{metric}_{DIFFERENCE}", NEUTRAL, (each.observed - each.usual).mean(), excess,
            f"{how} of sentences and of neutral words",
        ),
    ):  # fmt: skip
        low, high = interval(drawn)
        yield Record(
            SUITE, name, model, float(value), each.swaps, unit, method,
            baseline=baseline, condition=condition, domain=each.name, low=low, high=high,
        )  # fmt: skip


def _items(each: _Attribute, metric: str, condition: str) -> Iterator[Item]:
    for model, values in ((MODEL, each.observed), (NEUTRAL, each.usual)):
        for number, value in enumerate(values.tolist()):
            name = "/".join(filter(None, (each.name, str(number), condition)))
            yield Item(SUITE, metric, name, f"sentence-{number}", model, value)


def _shown(
    probabilities: Floats,
    labels: Sequence[str],
    identities: Mapping[str, Sequence[str]],
    templates: Sequence[Template],
) -> dict[str, Any]:
    """The ten swaps that change most, and how likely each word makes the label on average."""
    label = _POSITIVE if _POSITIVE in labels else labels[0]
    column = probabilities[:, :, labels.index(label)]
    swaps: list[tuple[float, dict[str, Any]]] = []
    means: dict[str, dict[str, float]] = {}
    start = 0
    for name, group in identities.items():
        own = column[:, start : start + len(group)]
        start += len(group)
        means[name] = {word: rounded(value) for word, value in zip(group, own.mean(0), strict=True)}
        for template, row in zip(templates, own.tolist(), strict=True):
            pairs = combinations(sorted(zip(row, group, strict=True)), 2)
            swaps.extend((high[0] - low[0], _swap(name, template, low, high)) for low, high in pairs)
    worst = sorted(swaps, key=lambda swap: -swap[0])[:_WORST]
    return {"label": label, "worst": [swap for _, swap in worst], "means": means, "note": ""}


def _swap(name: str, template: Template, low: tuple[float, str], high: tuple[float, str]) -> dict[str, Any]:
    return {
        "attribute": name,
        "carrier": template.carrier,
        "sentence": template.text.format("___"),
        "words": [low[1], high[1]],
        "probabilities": [rounded(low[0]), rounded(high[0])],
        "gap": rounded(high[0] - low[0]),
    }
