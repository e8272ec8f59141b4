"""The examination of explanations, on models of a few weights and texts of ours."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from models.answering import DOC_STRIDE, MAX_ANSWER_TOKENS, NO_ANSWER_THRESHOLD, TEMPERATURE
from models.config import ModelConfig
from models.head_export import save_head
from models.heads import Classifier, SpanExtractor
from models.transformer import LanguageModel
from tasks import tables
from tasks.artifacts import Artifact, Store
from tasks.errors import ArtifactError
from tasks.evaluation.explanation import (
    ExplanationConfig,
    examine_explanations,
    randomised,
    rank_correlation,
)
from tests.tasks.evaluation.tiny_inputs import artifact, clean, documents, tokens

LABELS = ("negative", "neutral", "positive")
SETTINGS = {DOC_STRIDE: 16.0, MAX_ANSWER_TOKENS: 8.0, NO_ANSWER_THRESHOLD: 1.0, TEMPERATURE: 1.0}
ORIGIN = {"source": "ours", "uri": "tests:", "licence": "CC0-1.0", "sha256": "0" * 64}
WORDS = (
    "the",
    "old",
    "river",
    "ran",
    "past",
    "a",
    "quiet",
    "mill",
    "and",
    "every",
    "child",
    "green",
    "water",
)


def sentence(seed: int, words: int = 9) -> str:
    draw = random.Random(seed)
    return " ".join(draw.choice(WORDS) for _ in range(words))


def labelled(folder: Path) -> None:
    splits = ["train", "test", "test", "test", "test", "test"]
    sentiment = [
        {"id": f"s{n}", "text": sentence(n), "label": LABELS[n % 3], "rating": 0.5, "split": split, **ORIGIN}
        for n, split in enumerate(splits)
    ]
    tables.write(folder / "labelled" / "sentiment.parquet", sentiment, tables.SENTIMENT)
    contexts = [sentence(100 + n, 40) for n in range(len(splits))]
    questions = [
        {
            "id": f"q{n}",
            "context_id": f"c{n // 2}",
            "context": contexts[n],
            "question": sentence(200 + n, 3),
            "answer": contexts[n][:10],
            "answer_start": 0,
            "split": split,
            **ORIGIN,
        }
        for n, split in enumerate(splits)
    ]
    tables.write(folder / "labelled" / "question-answering.parquet", questions, tables.QUESTION_ANSWERING)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """Two fine-tuned models whose weights mean nothing, and the labelled sets."""
    store = Store(tmp_path_factory.mktemp("explanation"))
    tokenization = tokens(store, clean(store, documents(4)))
    shape = ModelConfig(
        vocab_size=json.loads(tokenization.file("index.json").read_text())["vocab_size"],
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        max_position_embeddings=64,
    )
    tokenizer = tokenization.file("tokenizer.json")
    heads = {
        "sentiment": Classifier(LanguageModel(shape, seed=1), LABELS, seed=5),
        "question-answering": SpanExtractor(LanguageModel(shape, seed=2), seed=5),
    }

    def saved(name: str) -> Artifact:
        settings = {} if name == "sentiment" else SETTINGS
        return artifact(
            store,
            f"finetuning-{name}",
            lambda folder: save_head(heads[name], folder, tokenizer, max_tokens=48, settings=settings),
        )

    found = {name: saved(name) for name in heads}
    return found | {"cleaning": artifact(store, "cleaning", labelled, labelled=True)}


def examine(made: dict[str, Artifact], **changes: int):  # type: ignore[no-untyped-def]
    settings = {"texts": 4, "questions": 2, "samples": 200, "seed": 3} | changes
    return examine_explanations(made["sentiment"], made["question-answering"], made["cleaning"], **settings)


def test_every_number_is_there_beside_chance(made: dict[str, Artifact]) -> None:
    found = examine(made)
    kinds = {(each.condition, each.metric, each.model, each.baseline) for each in found.records}
    for task in ("sentiment", "question_answering"):
        assert (task, "completeness_error_median", "integrated gradients", "") in kinds
        assert (task, "completeness_error_max", "integrated gradients", "") in kinds
        for measure in ("comprehensiveness", "sufficiency"):
            for removal in ("delete", "mask"):
                where = f"{task}, {removal}"
                assert (where, measure, "integrated gradients", "") in kinds
                assert (where, measure, "random", "") in kinds
                assert (where, f"{measure}_difference", "integrated gradients", "random") in kinds
    assert ("sentiment", "randomised_weights_rank_correlation", "integrated gradients", "") in kinds
    assert len(kinds) == len(found.records)
    assert {each.suite for each in found.records} == {"explanation"}
    assert all(np.isfinite(each.value) for each in found.records)
    assert {each.n for each in found.records if each.condition.startswith("sentiment")} == {4}
    assert {each.n for each in found.records if each.condition.startswith("question")} == {2}


def test_differences_are_those_of_the_items(made: dict[str, Artifact]) -> None:
    found = examine(made)
    by = {(i.task, i.metric, i.model, i.id): i.value for i in found.items}
    ids = sorted({i.id for i in found.items if i.task == "explanation_sentiment"})
    assert len(ids) == 4
    key = ("explanation_sentiment", "comprehensiveness_mask")
    paired = [by[*key, "integrated gradients", name] - by[*key, "random", name] for name in ids]
    record = next(
        r
        for r in found.records
        if r.condition == "sentiment, mask" and r.metric == "comprehensiveness_difference"
    )
    assert record.value == pytest.approx(np.mean(paired))
    assert record.low is not None
    assert record.high is not None
    assert record.low <= record.value <= record.high


def test_only_test_rows_are_explained_and_the_same_ones_again(made: dict[str, Artifact]) -> None:
    found, again, other = examine(made, texts=50), examine(made, texts=50), examine(made, texts=2, seed=4)
    assert [each.row() for each in found.records] == [each.row() for each in again.records]
    assert found.shown == again.shown
    assert {each.id for each in found.items if each.task == "explanation_sentiment"} == {
        f"s{n}" for n in range(1, 6)
    }
    assert found.shown != other.shown


def test_what_is_shown(made: dict[str, Artifact]) -> None:
    shown = examine(made, texts=50, questions=50).shown["explanations"]
    json.dumps(shown)
    assert [each["task"] for each in shown] == ["sentiment"] * 5 + ["question_answering"] * 2
    for each in shown:
        assert len(each["pieces"]) == len(each["scores"])
        assert 0.0 <= each["probability"] <= 1.0
    first = shown[0]
    assert first["label"] in LABELS
    assert sum(first["scores"]) == pytest.approx(first["value"] - first["baseline_value"], abs=1e-3)
    assert "".join(first["pieces"]) in {sentence(n) for n in range(1, 6)}


def test_either_model_may_be_missing(made: dict[str, Artifact]) -> None:
    nothing = examine_explanations(None, None, made["cleaning"], texts=2, samples=200, seed=0)
    assert (nothing.records, nothing.items, nothing.shown) == ([], [], {"explanations": []})
    one = examine_explanations(
        None, made["question-answering"], made["cleaning"], texts=8, samples=200, seed=0
    )
    assert {each.n for each in one.records} == {2}


def test_one_text_alone_has_no_interval(made: dict[str, Artifact]) -> None:
    found = examine_explanations(made["sentiment"], None, made["cleaning"], texts=1, samples=200, seed=0)
    assert all(each.low is None and each.high is None for each in found.records)


def test_a_model_of_another_task_is_refused(made: dict[str, Artifact]) -> None:
    with pytest.raises(ArtifactError, match="not a classifier"):
        examine_explanations(made["question-answering"], None, made["cleaning"], texts=1, samples=200, seed=0)


def test_random_weights_know_nothing_of_the_trained_ones(made: dict[str, Artifact]) -> None:
    from models.head_export import load_head

    head, _ = load_head(made["sentiment"].path)
    other, again = randomised(head, 1), randomised(head, 1)
    for (name, trained), drawn, twice in zip(
        head.named_parameters(), other.parameters(), again.parameters(), strict=True
    ):
        assert drawn.equal(twice)
        trained, drawn = trained.detach(), drawn.detach()
        if trained.numel() > 500:
            assert float(drawn.std()) == pytest.approx(float(trained.std()), rel=0.2), name
            assert abs(np.corrcoef(trained.flatten(), drawn.flatten())[0, 1]) < 0.2


def test_rank_correlation() -> None:
    assert rank_correlation([1.0, 2.0, 30.0], [5.0, 6.0, 7.0]) == pytest.approx(1.0)
    assert rank_correlation([1.0, 2.0, 30.0], [7.0, 6.0, 5.0]) == pytest.approx(-1.0)
    assert rank_correlation([1.0, 2.0, 3.0], [0.0, 0.0, 0.0]) == 0.0
    assert rank_correlation([1.0, 2.0], [1.0, 2.0]) is None


def test_the_configuration_is_bounded() -> None:
    assert ExplanationConfig().texts == 40
    with pytest.raises(ValueError, match="texts"):
        ExplanationConfig(texts=0)
