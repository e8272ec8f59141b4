"""What can be said in numbers about word vectors: neighbours, agreement with people, use of the space."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.config import Summary

# Human ratings that gensim ships for its own tests. SimLex-999 (Hill et al. 2015) rates similarity proper,
# WordSim-353 (Finkelstein et al. 2002) rates relatedness as well, which skip-gram finds easier.
RATED_PAIRS = {"simlex999": "simlex999.txt", "wordsim353": "wordsim353.tsv"}
# A rank correlation over fewer pairs says nothing: of three pairs, one order in six is perfect by chance.
FEWEST_PAIRS = 10
RANDOM_PAIRS = 20_000
# Rare words have loose vectors and crowd every list of neighbours, so only frequent ones may be neighbours.
NEIGHBOUR_CANDIDATES = 5_000


class WordSimilarity(Summary):
    """Spearman correlation of cosines with human ratings, over the pairs whose two words have vectors.

    ``spearman`` is None when fewer than ten pairs are found, or when the ratings are not installed (then
    ``pairs`` is 0).
    """

    spearman: float | None
    pairs: int
    found: int
    coverage: float


def normalised(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Rows [words, dimensions] scaled to length 1; a row of zeros stays."""
    wide = vectors.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    return wide / np.where(lengths > 0, lengths, 1.0)


def nearest(
    words: Sequence[str], units: NDArray[np.float64], probes: Sequence[str], count: int
) -> dict[str, list[tuple[str, float]]]:
    """The nearest ``count`` of the 5,000 most frequent words, with cosines, for every probe with a vector.

    When none has (another language, a special subject), the twelve most frequent words of four letters and
    more stand in.
    """
    places = {word: place for place, word in enumerate(words)}
    known = [word for word in dict.fromkeys(probes) if word in places]
    known = known or [word for word in words if len(word) > 3][:12] or list(words[:12])
    result = {}
    for word in known:
        cosines = np.round(units[:NEIGHBOUR_CANDIDATES] @ units[places[word]], 4)
        order = [place for place in np.argsort(-cosines, kind="stable")[: count + 1] if place != places[word]]
        result[word] = [(words[place], float(cosines[place])) for place in order[:count]]
    return result


def anisotropy(units: NDArray[np.float64], seed: int) -> float | None:
    """Mean cosine of random pairs of different words; None for fewer than two words."""
    if len(units) < 2:
        return None
    random = np.random.default_rng(seed)
    left = random.integers(len(units), size=RANDOM_PAIRS)
    right = (left + random.integers(1, len(units), size=RANDOM_PAIRS)) % len(units)
    return round(float(np.einsum("ij,ij->i", units[left], units[right]).mean()), 6)


def word_similarities(words: Sequence[str], units: NDArray[np.float64]) -> dict[str, WordSimilarity]:
    """The vectors' agreement with each set of human ratings."""
    places = {word: place for place, word in enumerate(words)}
    return {name: word_similarity(rated_pairs(file), places, units) for name, file in RATED_PAIRS.items()}


def word_similarity(
    pairs: Sequence[tuple[str, str, float]], places: dict[str, int], units: NDArray[np.float64]
) -> WordSimilarity:
    """Spearman correlation of the cosines of ``pairs`` with their ratings (ties share their mean rank)."""
    from scipy.stats import spearmanr  # type: ignore[import-untyped]

    known = [(places[a], places[b], rating) for a, b, rating in pairs if a in places and b in places]
    score = None
    ratings = [rating for _, _, rating in known]
    cosines = [round(float(units[a] @ units[b]), 9) for a, b, _ in known]
    # Of equal numbers there is no order to compare.
    if len(known) >= FEWEST_PAIRS and len(set(cosines)) > 1 and len(set(ratings)) > 1:
        score = round(float(spearmanr(cosines, ratings).statistic), 6)
    coverage = round(len(known) / len(pairs), 6) if pairs else 0.0
    return WordSimilarity(spearman=score, pairs=len(pairs), found=len(known), coverage=coverage)


def rated_pairs(file: str) -> list[tuple[str, str, float]]:
    """Lower-cased word pairs with their ratings from gensim's test data; empty when it is not installed."""
    spec = importlib.util.find_spec("gensim")
    for root in (spec.submodule_search_locations or []) if spec else []:
        path = Path(root, "test", "test_data", file)
        if path.is_file():
            lines = path.read_text(encoding="utf-8").splitlines()
            fields = [line.split("\t") for line in lines if line.strip() and not line.startswith("#")]
            return [(a.lower(), b.lower(), float(rating)) for a, b, rating in fields]
    return []
