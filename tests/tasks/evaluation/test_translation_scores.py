"""Scores of translations: sacreBLEU's numbers, the baselines, and intervals from sums over segments."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu.metrics import BLEU, CHRF

from models.head_export import save_head
from models.heads import Classifier, Translator
from tasks import tables
from tasks.artifacts import Artifact, Store
from tasks.errors import ArtifactError, DataError
from tasks.evaluation import translation_scores
from tasks.evaluation.findings import Findings
from tasks.evaluation.records import Record
from tasks.evaluation.translation_scores import bleu_of, chrf_of, examine_translation, nearest_neighbours
from tests.tasks.evaluation import tiny_inputs

TRAIN = [
    ("Delete the file", "Supprimer le fichier"),
    ("Save {name}", "Enregistrer {name}"),
    ("The event was created", "L'événement a été créé"),
]
TEST = [
    ("Delete the files", "Supprimer les fichiers"),
    ("Save %(title)s now", "Enregistrer %(title)s maintenant"),
    ("OK", "OK"),
    ("{a} of {b}", "{a} sur {b}"),
]
WORDS = st.lists(st.sampled_from(["le", "la", "fichier", "{n}", "été", "a", "!", "x."]), max_size=9)
TEXTS = st.lists(st.tuples(WORDS.map(" ".join), WORDS.map(" ".join)), min_size=1, max_size=6)


def row(identity: str, source: str, target: str, split: str) -> dict[str, Any]:
    provenance = {"source": "ours", "uri": "tests:ours", "licence": "CC0-1.0", "sha256": "0" * 64}
    return {"id": identity, "source_text": source, "target_text": target, "split": split, **provenance}


def cleaning_with(store: Store, test: Sequence[tuple[str, str]] = TEST) -> Artifact:
    rows = [row(f"train-{n}", *pair, "train") for n, pair in enumerate(TRAIN)]
    rows += [row(f"test-{n}", *pair, "test") for n, pair in enumerate(test)]

    def write(folder: Path) -> None:
        tables.write(folder / "labelled" / "translation.parquet", rows, tables.TRANSLATION)

    return tiny_inputs.artifact(store, "cleaning", write, rows=rows)


def model_of(store: Store, head: type[Translator] | type[Classifier] = Translator) -> Artifact:
    """An untrained head as fine-tuning would write it."""
    from models.export import load_pretrained

    tokenization = tiny_inputs.tokens(store, tiny_inputs.clean(store, tiny_inputs.documents(4)))
    base = tiny_inputs.model(store, tokenization)

    def write(folder: Path) -> None:
        trunk = load_pretrained(base.path)
        network = Translator(trunk) if head is Translator else Classifier(trunk, ("a", "b"))
        save_head(network, folder, base.file("tokenizer.json"), max_tokens=32, settings={})

    return tiny_inputs.artifact(store, "finetuning-translation", write, base=base.content, head=head.task)


def examine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, translations: list[str], **changes: Any
) -> Findings:
    """The findings for a model that translates the test sources so."""
    monkeypatch.setattr(translation_scores, "_translate", lambda model, sources: (translations, 0))
    store = Store(tmp_path)
    cleaning = cleaning_with(store, changes.pop("test", TEST))
    return examine_translation(cleaning, cleaning, **({"samples": 200, "seed": 0} | changes))


def record(found: Findings, metric: str, model: str, baseline: str = "") -> Record:
    wanted = (metric, model, baseline)
    (one,) = [each for each in found.records if (each.metric, each.model, each.baseline) == wanted]
    return one


@given(TEXTS)
def test_scores_from_sums_are_those_of_sacrebleu(pairs: list[tuple[str, str]]) -> None:
    hypotheses, references = [h for h, _ in pairs], [[r for _, r in pairs]]
    for metric, score in ((CHRF(word_order=2), chrf_of), (BLEU(), bleu_of)):
        parts = np.array(metric._extract_corpus_statistics(hypotheses, references), dtype=np.float64)
        expected = metric.corpus_score(hypotheses, references).score
        assert score(parts.sum(axis=0)) == pytest.approx(expected, abs=1e-9)


def test_a_perfect_translator_and_the_copy_baseline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    references = [target for _, target in TEST]
    found = examine(tmp_path, monkeypatch, references)
    assert record(found, "chrf", "model").value == pytest.approx(100.0)
    assert record(found, "exact_match", "model").value == 1.0
    assert record(found, "exact_match", "copy").value == 0.25
    sources = [source for source, _ in TEST]
    chrf, bleu = CHRF(word_order=2), BLEU()
    copied = chrf.corpus_score(sources, [references]).score
    assert record(found, "chrf", "copy").value == pytest.approx(copied)
    assert record(found, "bleu", "copy").value == pytest.approx(
        bleu.corpus_score(sources, [references]).score
    )
    assert record(found, "chrf_difference", "model", "copy").value == pytest.approx(100.0 - copied)
    assert str(chrf.get_signature()) in record(found, "chrf", "model").method
    assert str(bleu.get_signature()) in record(found, "bleu", "model").method
    for each in found.records:
        assert each.low is not None and each.high is not None
        assert each.low - 1e-9 <= each.value <= each.high + 1e-9


def test_the_memory_gives_the_translation_of_the_most_similar_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = [source for source, _ in TRAIN]
    assert nearest_neighbours(memory, ["Delete files", "Save it", "An event"]) == [0, 1, 2]
    assert nearest_neighbours(["same", "same", "other"], ["same", "nothing: ?"]) == [0, 2]
    found = examine(tmp_path, monkeypatch, [""] * len(TEST))
    texts = {each["id"]: each for each in found.shown["examples"]}
    assert texts["test-0"] == {
        "id": "test-0",
        "source": "Delete the files",
        "reference": "Supprimer les fichiers",
        "hypothesis": "",
        "neighbour": "Supprimer le fichier",
    }
    own, memory_score = record(found, "chrf", "model"), record(found, "chrf", "nearest_neighbour")
    difference = record(found, "chrf_difference", "model", "nearest_neighbour")
    assert own.value == 0.0 < memory_score.value
    assert difference.value == pytest.approx(-memory_score.value)


def test_placeholders_are_counted_as_often_as_they_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    translations = ["x", "Enregistrer %(title)s %(title)s", "{c}", "sur {b}"]
    found = examine(tmp_path, monkeypatch, translations)
    survival, equality = (
        record(found, name, "model") for name in ("placeholder_survival", "placeholder_equality")
    )
    assert (survival.value, survival.n) == (pytest.approx(2 / 3), 2)
    assert (equality.value, equality.n) == (0.0, 2)
    assert record(found, "placeholder_survival", "copy").value == 1.0
    plain = examine(tmp_path / "plain", monkeypatch, ["OK"], test=[("OK", "OK")])
    assert not [each for each in plain.records if each.metric.startswith("placeholder")]
    assert record(plain, "chrf", "model").low is None  # one segment has no interval


def test_intervals_are_paired_and_drawn_by_the_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    translations = [source for source, _ in TEST]  # the model is the baseline copy
    found = examine(tmp_path, monkeypatch, translations)
    same = record(found, "chrf_difference", "model", "copy")
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    assert examine(tmp_path, monkeypatch, translations) == found
    other = examine(tmp_path, monkeypatch, translations, seed=1)
    assert record(other, "chrf", "model").low != record(found, "chrf", "model").low


def test_an_interval_is_that_of_sacrebleu_scores_of_the_drawn_segments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    translations = ["Supprimer fichiers", "Enregistrer", "OK", "{a} sur {b} !"]
    found = record(examine(tmp_path, monkeypatch, translations, samples=300), "chrf", "model")
    generator, scores = np.random.default_rng(0), []
    for drawn in generator.integers(len(TEST), size=(300, len(TEST))):
        references = [[TEST[place][1] for place in drawn]]
        scores.append(CHRF(word_order=2).corpus_score([translations[p] for p in drawn], references).score)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(scores, [0.025, 0.975])))


def test_items_are_sentence_scores_of_every_translator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    translations = ["Supprimer fichiers", "Enregistrer", "", "{a} sur {b}"]
    found = examine(tmp_path, monkeypatch, translations)
    assert {(item.task, item.metric) for item in found.items} == {("translation", "chrf")}
    values = {(item.model, item.id): item.value for item in found.items}
    assert len(values) == len(found.items) == 3 * len(TEST)
    for place, text in enumerate(translations):
        expected = CHRF(word_order=2).sentence_score(text, [TEST[place][1]]).score
        assert values["model", f"test-{place}"] == pytest.approx(expected)


def test_a_model_is_examined_whole_and_the_same_each_time(tmp_path: Path) -> None:
    store = Store(tmp_path)
    model = model_of(store)
    cleaning = cleaning_with(store, [*TEST, ("word " * 60, "mot " * 60)])
    found = examine_translation(model, cleaning, samples=100, seed=0)
    assert found == examine_translation(model, cleaning, samples=100, seed=0)
    assert found.shown["too_long"] == 1
    assert record(found, "chrf", "model").n == len(TEST) + 1
    assert {item.value for item in found.items if (item.model, item.id) == ("model", "test-4")} == {0.0}
    assert record(found, "placeholder_survival", "model").value == 1.0


def test_what_cannot_be_examined_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(ArtifactError, match="not a translator"):
        examine_translation(model_of(store, Classifier), cleaning_with(store), samples=100, seed=0)
    with pytest.raises(DataError, match="the test split has no row"):
        examine_translation(model_of(store), cleaning_with(store, []), samples=100, seed=0)
