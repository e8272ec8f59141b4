from __future__ import annotations

import random
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import near_duplicates as near_duplicates_benchmark
from tasks.cleaning.config import NearDuplicates
from tasks.cleaning.duplicates import band_shape, clusters, exact_duplicates, leaks, near_duplicates
from tasks.cleaning.shingles import Fingerprints, distinct, jaccard, ngrams, text_key, word_hashes, words

Prose = Callable[..., str]


def fingerprints(folder: Path, texts: list[str], config: NearDuplicates | None = None) -> Fingerprints:
    result = Fingerprints(config or NearDuplicates(), folder / ".shingles")
    for text in texts:
        result.add(word_hashes(text, words(text)))
    return result


def changed(text: str, generator: random.Random, count: int) -> str:
    tokens = text.split()
    for place in generator.sample(range(len(tokens)), count):
        tokens[place] = f"changed{generator.random()}"
    return " ".join(tokens)


def true_similarity(left: str, right: str, n: int = 5) -> float:
    def shingles(text: str) -> set[tuple[str, ...]]:
        tokens = words(text)
        return {tuple(tokens[i : i + n]) for i in range(max(1, len(tokens) - n + 1))}

    return len(shingles(left) & shingles(right)) / len(shingles(left) | shingles(right))


@given(st.lists(st.sampled_from("abcd"), max_size=30), st.lists(st.sampled_from("abcd"), max_size=30))
def test_similarity_of_hashes_is_that_of_the_sets(left: list[str], right: list[str]) -> None:
    def hashed(tokens: list[str]) -> np.ndarray:
        return distinct(ngrams(word_hashes("", tokens), 3))

    expected = true_similarity(" ".join(left), " ".join(right), 3)
    assert jaccard(hashed(left), hashed(right)) == pytest.approx(expected)


def test_planted_copies_are_found_and_nothing_else(tmp_path: Path, prose: Prose) -> None:
    generator = random.Random(5)
    originals = [prose(seed, 200) for seed in range(150)]
    copies = [changed(text, generator, 3) for text in originals]
    texts = originals + copies
    with fingerprints(tmp_path, texts) as prints:
        dropped = near_duplicates(prints, range(len(texts)))
    alike = {150 + i for i in range(150) if true_similarity(originals[i], copies[i]) >= 0.8}
    assert len(alike) > 140
    assert len(alike & dropped.keys()) >= 0.98 * len(alike)
    assert all(row - 150 == copy.of and copy.similarity >= 0.8 for row, copy in dropped.items())


def test_a_candidate_below_the_threshold_is_not_dropped(tmp_path: Path, prose: Prose) -> None:
    text = prose(1, 100)
    pairs = [text, changed(text, random.Random(2), 4)]
    assert 0.6 < true_similarity(*pairs) < 0.8
    with fingerprints(tmp_path, pairs) as prints:
        assert near_duplicates(prints, [0, 1]) == {}
    strict = NearDuplicates(threshold=0.6)
    with fingerprints(tmp_path, pairs, strict) as prints:
        assert near_duplicates(prints, [0, 1]).keys() == {1}


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(24)))
def test_what_stays_does_not_depend_on_the_order_of_the_input(
    tmp_path_factory: pytest.TempPathFactory, order: list[int]
) -> None:
    generator = random.Random(1)
    base = [
        " ".join(
            generator.choices(["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"], k=80)
        )
        for _ in range(6)
    ]
    texts = [changed(text, generator, 1) for text in base for _ in range(4)]

    def kept(sequence: list[int]) -> set[int]:
        with fingerprints(tmp_path_factory.mktemp("x"), [texts[i] for i in sequence]) as prints:
            wanted = sorted(range(len(sequence)), key=lambda row: (-len(texts[sequence[row]]), sequence[row]))
            gone = near_duplicates(prints, wanted)
        return {key for row, key in enumerate(sequence) if row not in gone}

    assert kept(order) == kept(sorted(order))


def test_a_heap_of_copies_leaves_one_in_bounded_time_and_memory(tmp_path: Path, prose: Prose) -> None:
    text = prose(3, 300)
    texts = [f"{text} {number}" for number in range(2_000)]
    started = time.process_time()
    with fingerprints(tmp_path, texts) as prints:
        tracemalloc.start()
        assert len(near_duplicates(prints, range(2_000))) == 1_999
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 10_000_000, "the two rows of each pair would take 32 million"
        assert set(clusters(prints)) == {0}
    assert time.process_time() - started < 20


def test_short_and_empty_texts_are_compared_as_wholes(tmp_path: Path) -> None:
    texts = ["one two", "one two", "one three", "", "", "!!!", "???"]
    with fingerprints(tmp_path, texts) as prints:
        assert near_duplicates(prints, range(7)).keys() == {1, 4}


def test_exact_copies_differ_in_case_and_punctuation_at_most() -> None:
    texts = ["The end.", "the END", "The ends", "!?", "?!"]
    assert exact_duplicates([text_key(text) for text in texts], ["b", "a", "c", "d", "e"]) == {0: (1, 1.0)}


def test_clusters_link_through_chains_and_leaks_are_found(tmp_path: Path, prose: Prose) -> None:
    config = NearDuplicates(shingle_words=1, threshold=0.7)
    a = [f"w{i}" for i in range(20)]
    chain = [" ".join(a), " ".join([*a[3:], "x", "y", "z"]), " ".join([*a[6:], "x", "y", "z", "p", "q", "r"])]
    assert true_similarity(chain[0], chain[2], 1) < 0.7
    with fingerprints(tmp_path, [*chain, prose(1)], config) as prints:
        assert clusters(prints) == [0, 0, 0, 3]
        assert sorted(leaks(prints, ["train", "test", "test", "train"])) == [(0, 1)]
        assert list(leaks(prints, ["train", "", "test", "train"])) == []


@pytest.mark.parametrize("threshold", [0.3, 0.6, 0.8, 0.95, 1.0])
def test_bands_find_pairs_at_the_threshold(threshold: float) -> None:
    bands, width = band_shape(NearDuplicates(threshold=threshold))
    assert bands * width <= 128
    assert 1 - (1 - threshold**width) ** bands >= 0.99


def test_the_files_are_removed(tmp_path: Path) -> None:
    with fingerprints(tmp_path, ["a b c"]):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("similarity", [0.7, 0.8, 0.9])
def test_planted_pairs_are_found_as_the_theory_of_the_bands_says(similarity: float) -> None:
    """600 pairs of a known similarity: as candidates as often as promised, and judged rightly in the end."""
    settings = NearDuplicates()
    bands, width = band_shape(settings)
    level = near_duplicates_benchmark.measured(similarity, 600, settings, seed=5)
    theory = 1 - (1 - similarity**width) ** bands
    spread = (theory * (1 - theory) / level.pairs) ** 0.5
    assert abs(level.candidates / level.pairs - theory) < 4 * spread + 1 / level.pairs
    assert level.wrong == 0 and level.exact == (level.pairs if similarity >= settings.threshold else 0)
    assert level.found >= 0.97 * level.exact


def test_of_twenty_thousand_equal_texts_one_stays_in_bounded_time(tmp_path: Path, prose: Prose) -> None:
    hashed = word_hashes(prose(1, 60), words(prose(1, 60)))
    started = time.monotonic()
    with Fingerprints(NearDuplicates(), tmp_path / "prints") as texts:
        for _ in range(20_000):
            texts.add(hashed)
        assert len(near_duplicates(texts, range(20_000))) == 19_999
    assert time.monotonic() - started < 120
