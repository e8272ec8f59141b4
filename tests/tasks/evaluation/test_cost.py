"""The arithmetic is that of the formula; what a clock says stays out of the artefact."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.config import ModelConfig
from models.export import load_pretrained, load_tokenizer
from models.flops import training_flops_per_token
from tasks.artifacts import Artifact
from tasks.evaluation.cost import Cost, CostConfig, examine_cost
from tests.tasks.evaluation.tiny_inputs import inputs

CONFIG = CostConfig(latency_repeats=3, generated_tokens=8, training_steps=1, latency_tokens=16)
SHAPE = ModelConfig(vocab_size=512, max_position_embeddings=128)


def per_token(shape: ModelConfig, objective: str = "causal", **changes: float) -> tuple[float, float]:
    given = {"mask_ratio": 0.25, "causal_fraction": 0.5} | changes
    found = training_flops_per_token(shape, objective, 128, **given)
    return found.counted, found.ratio


@pytest.mark.parametrize("objective", ["causal", "masked", "hybrid"])
@pytest.mark.parametrize("tied", [True, False])
def test_counted_and_formula_agree(objective: str, tied: bool) -> None:
    shape = SHAPE.model_copy(update={"tie_word_embeddings": tied})
    assert per_token(shape, objective)[1] == pytest.approx(1.0, abs=0.01)


def test_an_untied_table_of_inputs_costs_nothing() -> None:
    untied = SHAPE.model_copy(update={"tie_word_embeddings": False})
    assert per_token(SHAPE)[0] == per_token(untied)[0]


def test_hidden_words_ask_less_of_the_head() -> None:
    causal, masked = per_token(SHAPE)[0], per_token(SHAPE, "masked")[0]
    asked = round(0.25 * 127)
    assert causal - masked == 6 * 512 * SHAPE.hidden_size * (128 - asked) / 128
    assert per_token(SHAPE, "hybrid", causal_fraction=0.75)[0] == 0.75 * causal + 0.25 * masked


@pytest.fixture(scope="module")
def pretraining(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return inputs(tmp_path_factory.mktemp("cost"))["pretraining"]


def examine(pretraining: Artifact) -> Cost:
    model, tokenizer = load_pretrained(pretraining.path), load_tokenizer(pretraining.path)
    cost = examine_cost(model, tokenizer, pretraining, CONFIG)
    assert all(weight.grad is None for weight in model.parameters())
    return cost


def test_records_are_the_same_twice_and_hold_no_timing(pretraining: Artifact) -> None:
    first, second = examine(pretraining), examine(pretraining)
    assert [each.row() for each in first.deterministic.records] == [
        each.row() for each in second.deterministic.records
    ]
    values = {each.metric: each.value for each in first.deterministic.records}
    folder = [path for path in pretraining.path.iterdir() if path.name != "manifest.json"]
    assert values["model_bytes"] == sum(path.stat().st_size for path in folder)
    assert values["training_tokens"] == 6400
    assert values["training_flops"] / values["training_flops_formula"] == pytest.approx(
        values["training_flops_ratio"]
    )
    assert not {name for name in values if "second" in name or name.endswith("_ms")}
    assert not first.deterministic.items


def test_what_is_measured_is_there_and_positive(pretraining: Artifact) -> None:
    measured = examine(pretraining).measured
    assert all(name.startswith("cost/") and value > 0 for name, value in measured.items())
    assert measured["cost/forward_p50_ms"] <= measured["cost/forward_p95_ms"]
    assert measured["cost/process_peak_memory_bytes"] >= measured["cost/resident_memory_bytes"] * 0.5
    assert "cost/generation_tokens_per_second" in measured


def test_a_model_of_masked_words_generates_nothing(tmp_path: Path) -> None:
    measured = examine(inputs(tmp_path, objective="masked")["pretraining"]).measured
    assert not [name for name in measured if "generation" in name]
    assert "cost/training_tokens_per_second" in measured


def test_the_model_is_left_as_it_was(pretraining: Artifact) -> None:
    model = load_pretrained(pretraining.path).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    examine_cost(model, load_tokenizer(pretraining.path), pretraining, CONFIG)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
