"""Drift: alike is alike, other is other, and chance is called chance."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import numpy as np
import pytest

from tasks import tables
from tasks.artifacts import Artifact
from tasks.drift import CorpusChange, DriftConfig, compare_corpora, jensen_shannon, permutation_test

SEA = ["ship", "sail", "harbour", "wave", "tide", "captain", "anchor", "storm", "deck", "crew"]
FARM = ["plough", "field", "barley", "cow", "barn", "harvest", "fence", "meadow", "oats", "hen"]
CONFIG = DriftConfig(permutations=99)


def _texts(words: list[str], count: int, seed: int) -> list[str]:
    generator = random.Random(seed)
    return [" ".join(generator.choices(words, k=30)) for _ in range(count)]


def _corpus(folder: Path, texts: list[str]) -> Artifact:
    rows = [
        {
            "id": hashlib.sha256(text.encode()).hexdigest()[:16],
            "text": text,
            "format": "text",
            "domain": "books",
            "source": "ours",
            "uri": f"ours:{place}",
            "licence": "CC0-1.0",
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
        }
        for place, text in enumerate(texts)
    ]
    tables.write(folder / "documents.parquet", rows, tables.RAW_DOCUMENTS)
    return Artifact(stage="ingestion", fingerprint="f", content="c", path=folder)


def _change(
    tmp_path: Path, former: list[str], current: list[str], config: DriftConfig = CONFIG
) -> CorpusChange:
    return compare_corpora(
        _corpus(tmp_path / "former", former), _corpus(tmp_path / "current", current), config
    )


def test_the_same_corpus_in_another_order_has_not_moved(tmp_path: Path) -> None:
    texts = _texts(SEA, 20, 0)
    assert _change(tmp_path, texts, texts[::-1]) == CorpusChange(
        new_documents=0,
        gone_documents=0,
        drift=None,
        drift_null=None,
        p_value=None,
        drifted=False,
        moved=False,
    )


def test_documents_on_another_subject_are_drift(tmp_path: Path) -> None:
    former = _texts(SEA, 40, 0)
    change = _change(tmp_path, former, [*former, *_texts(FARM, 10, 1)])
    assert (change.new_documents, change.gone_documents) == (10, 0)
    assert change.drifted and change.moved
    assert change.drift is not None and change.drift_null is not None and change.drift > 5 * change.drift_null
    assert change.p_value == pytest.approx(1 / 100)


def test_few_new_documents_on_the_same_subject_move_nothing_if_more_are_asked_for(tmp_path: Path) -> None:
    former = _texts(SEA, 40, 0)
    config = DriftConfig(permutations=99, minimum_new_documents=20, level=0.01)
    change = _change(tmp_path, former[:-1], [*former[:-2], *_texts(SEA, 10, 3)], config)
    assert (change.new_documents, change.gone_documents) == (10, 1)
    assert not change.moved


def test_equal_texts_are_called_drifted_as_often_as_the_level_says() -> None:
    generator = np.random.default_rng(0)
    called = 0
    for trial in range(200):
        counts = generator.poisson(1.0, size=(30, 40)).astype(float)
        is_new = np.arange(30) < 10
        distance = jensen_shannon(counts[is_new].sum(axis=0), counts[~is_new].sum(axis=0))
        null = permutation_test(counts, is_new, 59, trial)
        called += (1 + (null >= distance).sum()) / 60 <= 0.05
    assert 1 <= called <= 22  # 10 expected; a binomial leaves this range about once in a thousand times


def test_divergence_of_nothing_in_common_is_one_bit_and_of_the_same_none() -> None:
    assert jensen_shannon(np.array([3.0, 0.0]), np.array([0.0, 5.0])) == pytest.approx(1.0)
    assert jensen_shannon(np.array([3.0, 1.0]), np.array([6.0, 2.0])) == pytest.approx(0.0, abs=1e-12)


def test_an_empty_corpus_before_or_after(tmp_path: Path) -> None:
    change = _change(tmp_path, [], _texts(SEA, 3, 0))
    assert change.moved and change.new_documents == 3 and change.drift is None
