"""BM25 by hand, and finding documents by what they say."""

from __future__ import annotations

from math import log
from pathlib import Path

import pytest

from tasks.artifacts import Artifact, Store
from tasks.evaluation.similar import SimilarConfig, TrainingDocuments, WordIndex, nearest
from tests.tasks.evaluation.tiny_inputs import clean, document

TEXTS = {
    "bread": "Bread is made of flour, water and salt. The baker lets the dough rest.",
    "ships": "Ships crossed the grey water in the night, and the captain slept. The captain was old.",
    "stars": "The stars are far away; the light of some is older than the oldest book.",
    "long": "The word stands here. " * 80
    + "A captain bakes no bread, but salt is in the water of the sea. "
    + "End. " * 80,
}


@pytest.fixture(scope="module")
def cleaning(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    rows = [document(name, text, "books", "train") for name, text in TEXTS.items()]
    rows += [document("held-out", TEXTS["stars"] + " captain", "books", "test")]
    return clean(Store(Path(tmp_path_factory.mktemp("similar"))), rows)


def test_the_scores_are_those_of_the_formula() -> None:
    index = WordIndex(["a b b", "b c", "d"], SimilarConfig(saturation=1.2, length_penalty=0.75))
    rarity = log(1 + (3 - 2 + 0.5) / (2 + 0.5))
    first = rarity * 2 * 2.2 / (2 + 1.2 * (0.25 + 0.75 * 3 / 2))
    second = rarity * 1 * 2.2 / (1 + 1.2 * (0.25 + 0.75 * 2 / 2))
    assert index.scores("B").tolist() == pytest.approx([first, second, 0.0])
    assert index.scores("b b unknown").tolist() == pytest.approx([2 * first, 2 * second, 0.0])


@pytest.mark.parametrize("name", ["bread", "ships", "stars"])
def test_a_document_finds_itself_first(cleaning: Artifact, name: str) -> None:
    [best, *_] = nearest(TEXTS[name], cleaning)
    assert (best.id, best.source, best.licence) == (name, "books by us", "CC0-1.0")


def test_only_training_documents_with_something_in_common(cleaning: Artifact) -> None:
    documents = TrainingDocuments(cleaning)
    assert [found.id for found in documents.nearest("captain")] == ["ships", "long"]
    assert len(documents.nearest("the water", k=2)) == 2
    assert documents.nearest("zebra !?") == documents.nearest("") == []
    scores = [found.score for found in documents.nearest("the captain and the water")]
    assert scores == sorted(scores, reverse=True)


def test_the_excerpt_is_where_the_words_are(cleaning: Artifact) -> None:
    documents = TrainingDocuments(cleaning, SimilarConfig(excerpt_characters=80))
    found = {each.id: each for each in documents.nearest("captain salt sea")}
    assert "A captain bakes no bread, but salt" in found["long"].excerpt
    assert found["long"].excerpt.startswith("… ") and found["long"].excerpt.endswith(" …")
    assert len(found["long"].excerpt) <= 84
    assert TrainingDocuments(cleaning).nearest("flour")[0].excerpt == TEXTS["bread"]


def test_nothing_to_search_finds_nothing(tmp_path: Path) -> None:
    empty = clean(Store(tmp_path), [document("t", "only held out", "books", "test")])
    assert nearest("only", empty) == []
