"""Has the corpus moved? New documents are counted, and their words compared with those of the known ones.

The distance is the Jensen-Shannon divergence between the two word distributions. It is never zero, not even
between halves of one corpus, so it is judged by a permutation null: the same distance after the labels "new"
and "known" were dealt out to the documents at random.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tasks import ledgers, runs, tables
from tasks.artifacts import Artifact, verify
from tasks.config import StageConfig, Summary

Floats = NDArray[np.float64]
_WORD = re.compile(r"\w+")
_BUCKETS = 4096
_CHARACTERS = 20_000  # of a document that are looked at


class DriftConfig(StageConfig):
    """When a corpus counts as moved."""

    minimum_new_documents: int = Field(
        1, ge=1, description="New documents that are reason enough to train again."
    )
    permutations: int = Field(200, ge=20, le=100_000, description="Random relabellings behind the null.")
    documents: int = Field(
        1_000, ge=10, description="Documents of each side to compare at most, drawn at random."
    )
    level: float = Field(0.05, gt=0.0, lt=1.0, description="Probability of calling equal texts drifted.")
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of draws and relabellings.")


class CorpusChange(Summary):
    """How a corpus differs from the one that was trained on.

    ``drift`` is in bits, from 0 (same words) to 1 (no word in common); ``drift_null`` is what the permuted
    labels stay under but for ``level`` of the time. Both are None without new or without known documents.
    """

    new_documents: int
    gone_documents: int
    drift: float | None
    drift_null: float | None
    p_value: float | None
    drifted: bool
    moved: bool


def since_training(current: Artifact, config: DriftConfig) -> CorpusChange | None:
    """How the corpus differs from the one that the newest completed training of this preset read.

    None if there was no training, its corpus is gone from the store, or it is the very same artefact.
    """
    run = runs.current()
    if run is None:
        return None
    trained = ledgers.newest(
        run.home,
        lambda entry: (
            entry["status"] == "completed"
            and entry["preset"] == run.preset
            and {"ingestion", "pretraining"} <= entry["stages"].keys()
        ),
    )
    path = Path(trained["stages"]["ingestion"]["artifact"]) if trained else None
    if path is None or not path.is_dir() or path == current.path:
        return None
    return compare_corpora(verify(path), current, config)


def describe(change: CorpusChange) -> str:
    """A change in one line, for people."""
    told = f"{change.new_documents:,} new documents, {change.gone_documents:,} gone"
    if change.drift is None:
        return told
    word = "drifted" if change.drifted else "no drift"
    return f"{told}; {word} ({change.drift:.4f} bits, null {change.drift_null:.4f}, p = {change.p_value:.3f})"


def compare_corpora(former: Artifact, current: Artifact, config: DriftConfig) -> CorpusChange:
    """Compare the raw documents of two ingestions; a document is known by the digest of its text.

    Raises:
        ArtifactError: a table cannot be read.
    """
    known, now = _digests(former), _digests(current)
    new = now.keys() - known.keys()
    tested = _drift(known, {key: now[key] for key in new}, former, current, config) if new and known else None
    drifted = tested is not None and tested[2] <= config.level
    return CorpusChange(
        new_documents=len(new),
        gone_documents=len(known.keys() - now.keys()),
        drift=None if tested is None else round(tested[0], 6),
        drift_null=None if tested is None else round(tested[1], 6),
        p_value=None if tested is None else round(tested[2], 6),
        drifted=drifted,
        moved=len(new) >= config.minimum_new_documents or drifted,
    )


def jensen_shannon(first: Floats, second: Floats) -> float:
    """Divergence of two count vectors, in bits."""
    p, q = first / max(first.sum(), 1.0), second / max(second.sum(), 1.0)
    middle = (p + q) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = [np.where(x > 0, x * np.log2(x / middle), 0.0).sum() for x in (p, q)]
    return float(sum(parts) / 2)


def permutation_test(counts: Floats, is_new: NDArray[np.bool_], permutations: int, seed: int) -> Floats:
    """Distances under random relabelling of (documents, words) counts, as many as asked for."""
    generator = np.random.default_rng(seed)
    labels = np.stack([generator.permutation(is_new) for _ in range(permutations)]).astype(np.float64)
    total = counts.sum(axis=0)
    return np.array([jensen_shannon(part, total - part) for part in labels @ counts])


def _drift(
    known: dict[str, int], new: dict[str, int], former: Artifact, current: Artifact, config: DriftConfig
) -> tuple[float, float, float]:
    """Distance, the null's upper quantile, and the share of the null that is as large."""
    generator = np.random.default_rng(config.seed)
    sides = [
        _counts(artifact, _some(sorted(places.values()), config.documents, generator))
        for artifact, places in ((current, new), (former, known))
    ]
    counts = np.concatenate(sides)
    is_new = np.arange(len(counts)) < len(sides[0])
    distance = jensen_shannon(sides[0].sum(axis=0), sides[1].sum(axis=0))
    null = permutation_test(counts, is_new, config.permutations, config.seed)
    p_value = (1 + int((null >= distance).sum())) / (1 + len(null))
    return distance, float(np.quantile(null, 1 - config.level)), p_value


def _some(places: Sequence[int], most: int, generator: np.random.Generator) -> set[int]:
    if len(places) <= most:
        return set(places)
    return {places[int(index)] for index in generator.choice(len(places), most, replace=False)}


def _digests(artifact: Artifact) -> dict[str, int]:
    """Place of each distinct document by the digest of its text."""
    rows = tables.iterate(artifact.file("documents.parquet"), ["text"])
    found: dict[str, int] = {}
    for place, row in enumerate(rows):
        found.setdefault(hashlib.sha256(row["text"].encode()).hexdigest(), place)
    return found


def _counts(artifact: Artifact, places: set[int]) -> Floats:
    """Word counts (documents, buckets) of the rows at these places; words share buckets by their hash."""
    buckets: dict[str, int] = {}
    rows = []
    for place, row in enumerate(tables.iterate(artifact.file("documents.parquet"), ["text"])):
        if place in places:
            counted = np.zeros(_BUCKETS)
            for word in _WORD.findall(row["text"][:_CHARACTERS].lower()):
                if word not in buckets:
                    digest = hashlib.blake2b(word.encode(), digest_size=4).digest()
                    buckets[word] = int.from_bytes(digest, "big") % _BUCKETS
                counted[buckets[word]] += 1
            rows.append(counted)
    return np.array(rows)
