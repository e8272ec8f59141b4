"""The evaluation stage as a whole, on artefacts made by the stages before it."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.ngram import KneserNey
from models.shards import TokenShard
from tasks import tables
from tasks.artifacts import Artifact, Store
from tasks.errors import ArtifactError, ConfigError, DataError
from tasks.evaluation.baselines import training_tokens
from tasks.evaluation.config import EvaluationConfig, SamplePrompt
from tasks.evaluation.evaluate import evaluate
from tasks.evaluation.records import DOCUMENTS, RECORDS
from tasks.evaluation.summary import EvaluationSummary
from tests.tasks.evaluation import tiny_inputs

PROMPTS = (SamplePrompt(domain="books", text="the old river"), SamplePrompt(domain="none", text=""))
CONFIG = EvaluationConfig(
    prompts=PROMPTS, max_new_tokens=8, bootstrap_samples=100, ngram_orders=(2, 3), precision="fp32", threads=1
)


def run(
    inputs: dict[str, Artifact], folder: Path, **changes: Any
) -> tuple[EvaluationSummary, list[dict[str, Any]], list[dict[str, Any]]]:
    folder.mkdir()
    summary = evaluate(inputs, CONFIG.model_copy(update=changes), folder)
    records = tables.read_arrow(folder / "records.parquet")
    documents = tables.read_arrow(folder / "documents.parquet")
    assert records.schema.equals(RECORDS) and documents.schema.equals(DOCUMENTS)
    return summary, records.to_pylist(), documents.to_pylist()


def test_a_uniform_model_has_exactly_log2_of_the_vocabulary_for_each_token(tmp_path: Path) -> None:
    inputs = tiny_inputs.inputs(tmp_path, uniform=True)
    summary, _, _ = run(inputs, tmp_path / "out")
    test = TokenShard(inputs["tokenization"].path, "test")
    exact = math.log2(test.vocab_size) * (len(test) - len(test.documents)) / int(test.documents.bytes.sum())
    assert summary.bits_per_byte["model"] == pytest.approx(exact, abs=1e-5)
    assert summary.bits_per_byte["uniform"] == pytest.approx(exact, abs=1e-6)
    assert summary.difference["uniform"].value == pytest.approx(0.0, abs=1e-5)


def test_bytes_are_those_of_the_text_itself(tmp_path: Path) -> None:
    summary, _, _ = run(tiny_inputs.inputs(tmp_path), tmp_path / "out")
    texts = [row["text"] for row in tiny_inputs.documents(12) if row["split"] == "test"]
    assert summary.bytes == sum(len(text.encode()) for text in texts)
    assert summary.documents == 12


def test_all_models_are_measured_on_the_same_documents_tokens_and_bytes(tmp_path: Path) -> None:
    summary, records, documents = run(tiny_inputs.inputs(tmp_path), tmp_path / "out", test_tokens=300)
    seen: dict[str, list[tuple[Any, ...]]] = {}
    for row in documents:
        key = (row["id"], row["predictions"], row["bytes"], row["domain"])
        seen.setdefault(row["model"], []).append(key)
    assert set(seen) == {"model", "kneser_ney_2", "kneser_ney_3", "unigram", "uniform"}
    assert all(rows == seen["model"] for rows in seen.values())
    assert 0 < summary.documents < 12 and summary.tokens <= 300
    assert {r["n"] for r in records if r["domain"] == "(all)" and r["suite"] == "language_modelling"} == {
        summary.documents
    }


def test_the_n_gram_scores_are_those_of_the_fitted_model_document_by_document(tmp_path: Path) -> None:
    inputs = tiny_inputs.inputs(tmp_path)
    _, _, documents = run(inputs, tmp_path / "out")
    train, test = (TokenShard(inputs["tokenization"].path, split) for split in ("train", "test"))
    model = KneserNey.fit(np.asarray(train.tokens), 3, train.vocab_size)
    found = {row["id"]: row["nats"] for row in documents if row["model"] == "kneser_ney_3"}
    table = test.documents
    for name, start, end in zip(table.ids, table.starts, table.ends, strict=True):
        assert found[name] == pytest.approx(-model.log_probabilities(test.tokens[start:end]).sum(), abs=1e-5)


def test_records_documents_and_summary_agree(tmp_path: Path) -> None:
    summary, records, documents = run(tiny_inputs.inputs(tmp_path), tmp_path / "out")
    rows = [row for row in documents if row["model"] == "model" and row["domain"] == "social"]
    by_hand = sum(row["nats"] for row in rows) / math.log(2) / sum(row["bytes"] for row in rows)
    assert summary.by_domain["social"]["model"] == pytest.approx(by_hand, abs=1e-5)
    [record] = [
        r for r in records if (r["metric"], r["model"], r["domain"]) == ("bits_per_byte", "model", "social")
    ]
    assert record["value"] == summary.by_domain["social"]["model"]
    assert record["low"] < record["value"] < record["high"]
    formula = next(r["value"] for r in records if r["metric"] == "training_flops_formula")
    assert summary.training_flops == pytest.approx(formula, rel=0.01)


def test_a_rerun_gives_the_same_bytes(tmp_path: Path) -> None:
    inputs = tiny_inputs.inputs(tmp_path, objective="hybrid")
    for name in ("one", "two"):
        run(inputs, tmp_path / name)
    for path in sorted((tmp_path / "one").iterdir()):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_a_masked_model_has_a_loss_at_hidden_words_and_no_bits_per_byte(tmp_path: Path) -> None:
    inputs = tiny_inputs.inputs(tmp_path, objective="masked", uniform=True)
    summary, records, _ = run(inputs, tmp_path / "out")
    samples = json.loads((tmp_path / "out" / "samples.json").read_text())
    vocabulary = TokenShard(inputs["tokenization"].path, "test").vocab_size
    assert summary.masked_loss["model"].value == pytest.approx(math.log(vocabulary), abs=1e-5)
    assert summary.masked_loss["unigram"].value < math.log(vocabulary)
    assert not summary.bits_per_byte and not [r for r in records if "bits" in r["metric"]]
    assert samples["samples"] == [] and "bits per byte do not apply" in samples["note"]


def test_a_hybrid_model_has_both(tmp_path: Path) -> None:
    summary, _, _ = run(tiny_inputs.inputs(tmp_path, objective="hybrid"), tmp_path / "out")
    assert summary.bits_per_byte["model"] > 0 and summary.masked_loss["model"].value > 0


def test_samples_hold_every_prompt_at_every_temperature_and_the_first_steps(tmp_path: Path) -> None:
    run(tiny_inputs.inputs(tmp_path), tmp_path / "out", steps_shown=3)
    found = json.loads((tmp_path / "out" / "samples.json").read_text())
    assert [(s["prompt"], s["temperature"]) for s in found["samples"]] == [
        (prompt.text, temperature) for prompt in PROMPTS for temperature in (0.0, 0.8)
    ]
    steps = found["steps"]["steps"]
    assert len(steps) == 3 and len(steps[0]["candidates"]) == 5
    likeliest = steps[0]["candidates"][0]
    assert likeliest["token_id"] == steps[0]["token_id"]  # greedy
    assert found["samples"][0]["text"].startswith("".join(step["text"] for step in steps))


def test_a_test_split_of_one_document_is_measured_without_an_interval(tmp_path: Path) -> None:
    summary, records, _ = run(tiny_inputs.inputs(tmp_path, test=1), tmp_path / "out")
    assert summary.documents == 1 and summary.bits_per_byte["model"] > 0
    assert summary.interval["model"].low is None
    assert all(r["low"] is None for r in records if r["suite"] == "language_modelling")


def test_an_empty_test_split_is_refused(tmp_path: Path) -> None:
    inputs = tiny_inputs.inputs(tmp_path, test=0)
    with pytest.raises(DataError, match="test split has no text"):
        run(inputs, tmp_path / "out")


def test_a_model_with_another_tokenizer_is_refused(tmp_path: Path) -> None:
    inputs, store = tiny_inputs.inputs(tmp_path), Store(tmp_path / "other")
    other = tiny_inputs.tokens(store, tiny_inputs.clean(store, tiny_inputs.documents(2, train=3)))
    with pytest.raises(ArtifactError, match="tokenizer is not the one"):
        run(inputs | {"pretraining": tiny_inputs.model(store, other)}, tmp_path / "out")


def test_documents_without_a_domain_are_refused(tmp_path: Path) -> None:
    inputs, store = tiny_inputs.inputs(tmp_path), Store(tmp_path / "other")
    few = tiny_inputs.clean(store, tiny_inputs.documents(3))
    with pytest.raises(DataError, match="9 test documents are not in it"):
        run(inputs | {"cleaning": few}, tmp_path / "out")


def test_what_the_model_cannot_take_is_a_config_error(tmp_path: Path) -> None:
    inputs = tiny_inputs.inputs(tmp_path)
    with pytest.raises(ConfigError, match="stride"):
        run(inputs, tmp_path / "out", stride=1000)
    long = (SamplePrompt(domain="books", text="river " * 500),)
    with pytest.raises(ConfigError, match="prompts"):
        run(inputs, tmp_path / "again", prompts=long)


def test_n_grams_learn_from_whole_documents_up_to_the_limit(tmp_path: Path) -> None:
    train = TokenShard(tiny_inputs.inputs(tmp_path)["tokenization"].path, "train")
    some = training_tokens(train, 500, seed=0)
    assert 0 < len(some) <= 500 and some[0] == 0
    texts = {
        tuple(train.tokens[a:b]) for a, b in zip(train.documents.starts, train.documents.ends, strict=True)
    }
    cuts = [*np.flatnonzero(some == 0), len(some)]
    assert all(tuple(some[a:b]) in texts for a, b in pairwise(cuts))
    assert np.array_equal(training_tokens(train, 0, seed=0), train.tokens)
    assert len(training_tokens(train, 1, seed=0)) >= 2  # never nothing


@pytest.mark.parametrize(
    "changes", [{"ngram_orders": (3, 3)}, {"stride": 0}, {"temperatures": (float("nan"),)}, {"unknown": 1}]
)
def test_nonsense_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        EvaluationConfig(**changes)
