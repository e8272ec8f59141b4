"""Batched continuations: equal to reading each prompt alone, whatever else is in the batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.batch_generation import _choose, continue_prompts
from models.config import ModelConfig
from models.transformer import LanguageModel

SHAPE = ModelConfig(
    vocab_size=40,
    hidden_size=16,
    intermediate_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=8,
    max_position_embeddings=32,
    eos_token_id=3,
    initializer_range=0.5,
)
ALL = torch.ones(40, dtype=torch.bool)
PROMPTS = [[0, 5, 9], [0], [0, 7, 7, 7, 8, 30], [0, 11], [0, 12, 13]]


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return LanguageModel(SHAPE, seed=1)


@torch.inference_mode()
def alone(model: LanguageModel, prompt: list[int], count: int) -> list[int]:
    """The greedy continuation, read afresh at every step: no cache, no batch, no padding."""
    tokens = list(prompt)
    while len(tokens) < len(prompt) + count:
        tokens.append(int(model(torch.tensor([tokens]))[0, -1].argmax()))
        if tokens[-1] == 3:
            break
    return tokens[len(prompt) :]


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_greedy_is_what_each_prompt_gives_alone(model: LanguageModel, batch_size: int) -> None:
    found = continue_prompts(model, PROMPTS, ALL, max_new_tokens=12, temperature=0.0, batch_size=batch_size)
    assert found == [alone(model, prompt, 12) for prompt in PROMPTS]


def test_a_draw_depends_on_the_seed_and_the_row_alone(model: LanguageModel) -> None:
    def draw(seed: int, batch_size: int) -> list[list[int]]:
        options = {"max_new_tokens": 10, "temperature": 1.0, "top_p": 0.9}
        return continue_prompts(model, PROMPTS, ALL, seed=seed, batch_size=batch_size, **options)

    assert draw(4, 64) == draw(4, 2) == draw(4, 1)
    assert draw(4, 64) != draw(5, 64)


def test_only_allowed_ids_are_chosen_and_the_end_ends(model: LanguageModel) -> None:
    allowed = torch.zeros(40, dtype=torch.bool)
    allowed[[3, 21, 22]] = True
    found = continue_prompts(model, [[0]] * 50, allowed, max_new_tokens=20, temperature=5.0)
    assert {token for text in found for token in text} == {3, 21, 22}
    assert all(3 not in text[:-1] for text in found)
    assert any(text[-1] == 3 and len(text) < 20 for text in found)


def test_draws_follow_the_truncated_distribution() -> None:
    scores = torch.tensor([[0.5, 0.2, 0.3]]).log().repeat(1000, 1)
    uniform = (np.arange(1000) + 0.5) / 1000
    assert np.bincount(_choose(scores, uniform, 1.0, 1.0), minlength=3).tolist() == [500, 200, 300]
    assert np.bincount(_choose(scores, uniform, 1.0, 0.8), minlength=3).tolist() == [625, 0, 375]
    assert set(_choose(scores, uniform, 1.0, 1e-6)) == {0}
    assert _choose(scores[:1], np.array([1.0]), 1.0, 0.8).tolist() == [2]


@pytest.mark.parametrize("prompt", [[], [1] * 30])
def test_a_prompt_that_does_not_fit_is_refused(model: LanguageModel, prompt: list[int]) -> None:
    with pytest.raises(ValueError, match="prompt 1 has"):
        continue_prompts(model, [[0], prompt], ALL, max_new_tokens=3, temperature=0.0)


def test_damaged_weights_are_refused() -> None:
    model = LanguageModel(SHAPE, seed=1)
    model.model.norm.weight.data.fill_(float("nan"))
    with pytest.raises(ValueError, match="not finite"):
        continue_prompts(model, [[0]], ALL, max_new_tokens=3, temperature=0.0)
