"""Word vectors find planted structure, repeat to the bit, and claim no score they did not measure."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from tasks import embedding_scores, tables
from tasks.artifacts import Artifact
from tasks.embedding_picture import SHARED, choose_words, project, spread, typical_domains
from tasks.embedding_scores import anisotropy, nearest, normalised, rated_pairs, word_similarity
from tasks.embeddings import LONGEST_SENTENCE, Corpus, EmbeddingsConfig, embed, sentences
from tasks.errors import ArtifactError, DataError

SEA = ["sail", "anchor", "harbour", "sailor", "wave", "captain", "deck", "mast"]
FARM = ["plough", "barley", "meadow", "cattle", "orchard", "shepherd", "barn", "hay"]
CONFIG = EmbeddingsConfig(dimensions=16, epochs=15, subsample=0.01, probes=("sail", "barley", "absent"))


def cleaning(folder: Path, documents: list[tuple[str, str, str]]) -> Artifact:
    """A cleaning artefact of (split, domain, text) triples."""
    fixed = {
        "language": "en",
        "source": "s",
        "uri": "u",
        "licence": "l",
        "sha256": "0",
        "words": 0,
        "bytes": 0,
    }
    rows: list[dict[str, Any]] = [
        {"id": f"d{i}", "split": split, "domain": domain, "text": text, **fixed}
        for i, (split, domain, text) in enumerate(documents)
    ]
    tables.write(folder / "documents.parquet", rows, tables.CLEAN_DOCUMENTS)
    return Artifact(stage="cleaning", fingerprint="0", content="0", path=folder)


def two_families() -> list[tuple[str, str, str]]:
    """Documents that talk of the sea or of a farm, never of both, with little words in common."""
    generator = random.Random(5)
    documents = []
    for number in range(200):
        domain, family = (("books", SEA), ("web", FARM))[number % 2]
        words = [
            generator.choice(family if generator.random() < 0.7 else ["the", "of", "and"]) for _ in range(60)
        ]
        documents.append(("train", domain, " ".join(words).capitalize() + "."))
    return [*documents, ("test", "books", "periscope " * 50)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An embeddings artefact of the two families; the corpus is beside it in ``clean``."""
    folder = tmp_path_factory.mktemp("embeddings")
    (folder / "made").mkdir()
    embed({"cleaning": cleaning(folder / "clean", two_families())}, CONFIG, folder / "made")
    return folder / "made"


def run(tmp_path: Path, documents: list[tuple[str, str, str]], **changes: Any) -> Any:
    folder = tmp_path / "made"
    folder.mkdir()
    config = EmbeddingsConfig(dimensions=8, epochs=2, **changes)
    return embed({"cleaning": cleaning(tmp_path / "clean", documents)}, config, folder)


def read(folder: Path) -> tuple[list[str], list[int], Any]:
    vocabulary = json.loads((folder / "vocabulary.json").read_text())
    return vocabulary["words"], vocabulary["counts"], load_file(folder / "vectors.safetensors")["vectors"]


def test_words_of_one_family_are_nearer_than_words_across(made: Path) -> None:
    words, _, vectors = read(made)
    units = normalised(vectors)
    sea, farm = (units[[words.index(word) for word in family]] for family in (SEA, FARM))
    within = np.concatenate([(side @ side.T)[np.triu_indices(len(side), 1)] for side in (sea, farm)])
    assert within.mean() > (sea @ farm.T).mean() + 0.3


def test_neighbours_of_a_probe_are_its_family(made: Path) -> None:
    neighbours = json.loads((made / "neighbours.json").read_text())
    assert set(neighbours) == {"sail", "barley"}
    assert {word for word, _ in neighbours["sail"][:5]} <= set(SEA) - {"sail"}
    cosines = [cosine for _, cosine in neighbours["barley"]]
    assert len(cosines) == CONFIG.neighbours and cosines == sorted(cosines, reverse=True)


def test_vocabulary_is_the_training_words_most_frequent_first(made: Path) -> None:
    words, counts, vectors = read(made)
    texts = [text for split, _, text in two_families() if split == "train"]
    expected = Counter(word for text in texts for word in text.lower().rstrip(".").split())
    assert dict(zip(words, counts, strict=True)) == dict(expected)
    assert counts == sorted(counts, reverse=True)
    assert vectors.dtype == np.float32 and vectors.shape == (len(words), 16)
    assert np.isfinite(vectors).all()


def test_the_picture_is_a_png_that_can_be_opened(made: Path) -> None:
    from matplotlib.image import imread

    pixels = imread(made / "embeddings.png")
    assert pixels.shape[0] > 800 and pixels.shape[1] > 1000
    assert 0.5 < float(pixels[..., :3].mean()) < 1.0


def test_with_few_rated_words_there_is_no_score(made: Path) -> None:
    scores = json.loads((made / "scores.json").read_text())["similarity"]
    assert set(scores) == {"simlex999", "wordsim353"}
    for score in scores.values():
        assert score["spearman"] is None and score["found"] < 10
        assert score["coverage"] == pytest.approx(score["found"] / max(score["pairs"], 1), abs=1e-6)


def test_two_processes_write_the_same_bytes(made: Path, tmp_path: Path, root: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tasks.artifacts import Artifact;"
        "from tasks.embeddings import EmbeddingsConfig, embed;"
        "clean = Artifact(stage='cleaning', fingerprint='0', content='0', path=Path(sys.argv[1]));"
        "config = EmbeddingsConfig.model_validate_json(sys.argv[3]);"
        "embed({'cleaning': clean}, config, Path(sys.argv[2]))"
    )
    command = [
        sys.executable,
        "-c",
        code,
        str(made.parent / "clean"),
        str(tmp_path),
        CONFIG.model_dump_json(),
    ]
    environment = os.environ | {"PYTHONHASHSEED": "11", "PYTHONPATH": str(root), "OMP_NUM_THREADS": "2"}
    subprocess.run(command, check=True, env=environment, cwd=root)
    first, second = (
        {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}
        for folder in (made, tmp_path)
    )
    assert first == second
    assert sorted(first) == [
        "embeddings.png",
        "neighbours.json",
        "scores.json",
        "vectors.safetensors",
        "vocabulary.json",
    ]


def test_another_seed_gives_other_vectors(made: Path, tmp_path: Path) -> None:
    clean = Artifact(stage="cleaning", fingerprint="0", content="0", path=made.parent / "clean")
    embed({"cleaning": clean}, CONFIG.model_copy(update={"seed": 2}), tmp_path)
    assert not np.array_equal(read(tmp_path)[2], read(made)[2])


@pytest.mark.parametrize(
    "text", ["word", "one two", "a b c d e f g h i j k l", "日本語 中文字", "one " * 30, "Ω≈ç√∫ straße"]
)
def test_a_tiny_corpus_works_and_scores_nothing(tmp_path: Path, text: str) -> None:
    summary = run(tmp_path, [("train", "books", text)])
    words, _, vectors = read(tmp_path / "made")
    assert summary.vocabulary == len(words) == len(vectors) >= 1
    assert (summary.min_count, summary.covered) == (1, 1.0)
    assert (summary.anisotropy is None) == (len(words) == 1)
    assert all(score.spearman is None for score in summary.similarity.values())
    assert (tmp_path / "made" / "embeddings.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_the_threshold_falls_only_as_far_as_it_must(tmp_path: Path) -> None:
    often = [f"{a}{b}" for a in "abcdefghijklmnopqrst" for b in "abcdefghij"]
    text = " ".join(often * 3 + ["rare", "rarer"])
    summary = run(tmp_path, [("train", "books", text)], min_count=5)
    assert (summary.min_count, summary.vocabulary) == (3, 200)
    assert summary.covered == pytest.approx(600 / 602, abs=1e-6)


@pytest.mark.parametrize(
    "documents", [[], [("test", "books", "held out")], [("train", "books", "12 34 ...")]]
)
def test_no_words_is_an_error(tmp_path: Path, documents: list[tuple[str, str, str]]) -> None:
    with pytest.raises(DataError, match="no words"):
        run(tmp_path, documents)


def test_a_table_that_breaks_while_training_raises_and_does_not_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    intact, passes = Corpus.with_domains, []

    def breaks_on_the_second_pass(self: Corpus) -> Any:
        passes.append(1)
        for number, pair in enumerate(intact(self)):
            if len(passes) > 1 and number == 3:
                raise ArtifactError("was altered")
            yield pair

    monkeypatch.setattr(Corpus, "with_domains", breaks_on_the_second_pass)
    with pytest.raises(ArtifactError, match="was altered"):
        run(tmp_path, two_families())


def test_sentences_are_paragraphs_of_lower_case_words() -> None:
    text = "It's the Captain's\nship, No. 9!\n \nStraße ÉTÉ x_y"
    assert list(sentences(text)) == [["it's", "the", "captain's", "ship", "no"], ["straße", "été", "x", "y"]]


def test_no_word_of_a_long_paragraph_is_lost() -> None:
    cut = list(sentences("word " * 12_345))
    assert sum(map(len, cut)) == 12_345
    assert max(map(len, cut)) == LONGEST_SENTENCE


def test_spearman_is_the_rank_correlation_of_the_pairs_found() -> None:
    angles = np.linspace(0, math.pi / 2, 13)
    units = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    places = {f"w{i}": i for i in range(13)}
    pairs = [("w0", f"w{i}", float(-i)) for i in range(1, 13)]
    score = word_similarity([*pairs, ("w0", "absent", 3.0)], places, units)
    assert (score.spearman, score.pairs, score.found) == (1.0, 13, 12)
    assert score.coverage == pytest.approx(12 / 13, abs=1e-6)
    assert word_similarity([(a, b, -r) for a, b, r in pairs], places, units).spearman == -1.0


def test_a_correlation_over_few_or_equal_pairs_is_none() -> None:
    places = {f"w{i}": i for i in range(30)}
    units = normalised(np.random.default_rng(2).normal(size=(30, 4)).astype(np.float32))
    pairs = [(f"w{i}", f"w{i + 1}", float(i)) for i in range(10)]
    assert word_similarity(pairs[:9], places, units).spearman is None
    assert word_similarity(pairs, places, units).spearman is not None
    units = np.eye(30)
    equal = [(f"w{i}", f"w{i + 1}", float(i)) for i in range(20)]  # every cosine is 0
    assert word_similarity(equal, places, units).spearman is None


def test_missing_ratings_are_none_and_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert rated_pairs("simlex999.txt") == []
    score = word_similarity([], {}, np.zeros((0, 2)))
    assert (score.spearman, score.pairs, score.coverage) == (None, 0, 0.0)


def test_the_ratings_are_read_whole() -> None:
    found = {name: rated_pairs(file) for name, file in embedding_scores.RATED_PAIRS.items()}
    if not all(found.values()):
        pytest.skip("this gensim ships no ratings")
    assert {name: len(pairs) for name, pairs in found.items()} == {"simlex999": 999, "wordsim353": 353}
    assert ("old", "new", 1.58) in found["simlex999"]
    assert ("tiger", "cat", 7.35) in found["wordsim353"]


def test_anisotropy_tells_one_direction_from_all() -> None:
    random_units = normalised(np.random.default_rng(0).normal(size=(500, 50)).astype(np.float32))
    assert anisotropy(random_units, 1) == pytest.approx(0.0, abs=0.02)
    assert anisotropy(np.tile(random_units[:1], (20, 1)), 1) == pytest.approx(1.0)
    # Pairs are of different words: with two opposite ones the mean is exactly -1.
    assert anisotropy(np.array([[1.0, 0.0], [-1.0, 0.0]]), 1) == -1.0


def test_frequent_words_stand_in_when_no_probe_is_known() -> None:
    found = nearest(["il", "mare", "terra"], np.eye(3), ["king"], 2)
    assert set(found) == {"mare", "terra"}
    assert [word for word, _ in found["mare"]] == ["il", "terra"]


def test_a_word_belongs_to_the_domain_that_uses_it_twice_as_often() -> None:
    by_domain = {"books": Counter(ship=10, sky=5, rest=985), "web": Counter(ship=1, sky=4, code=2, rest=493)}
    expected = {"ship": "books", "sky": SHARED, "code": "web", "rest": SHARED}
    assert typical_domains(list(expected), by_domain) == expected
    assert typical_domains(["ship"], {"books": Counter(ship=1)}) == {"ship": "books"}


def test_domains_take_turns_in_the_picture() -> None:
    words = ["there", "ship", "wave", "deck", "mast", "code", "file"]
    groups = dict.fromkeys(words, "books") | {"code": "web", "file": "web"}
    assert choose_words(words, groups, 4) == ["ship", "code", "wave", "file"]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 9, 10, 40])
def test_any_number_of_words_can_be_projected(count: int) -> None:
    units = normalised(np.random.default_rng(3).normal(size=(count, 8)).astype(np.float32))
    points = project(units, 1)
    assert points.shape == (count, 2) and np.isfinite(points).all()


def test_labels_are_parted_until_none_overlap() -> None:
    generator = np.random.default_rng(1)
    centres = np.concatenate([generator.uniform(0, 200, size=(40, 2)), np.zeros((5, 2))])
    sizes = np.tile([[40.0, 10.0]], (45, 1))
    moved = spread(centres, sizes)
    apart = np.abs(moved[:, None] - moved[None])
    overlapping = (apart < sizes[0] - 0.5).all(axis=2)
    assert not overlapping[np.triu_indices(45, 1)].any()
    alone = np.array([[0.0, 0.0], [500.0, 0.0]])
    assert np.array_equal(spread(alone, sizes[:2]), alone)
