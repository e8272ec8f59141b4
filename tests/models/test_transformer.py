"""The network against `transformers` (an independent implementation), and against what its maths promises."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional as F

from models.config import ModelConfig
from models.transformer import KeyValueCache, LanguageModel, attention_pattern


def small_config(**changes: object) -> ModelConfig:
    values: dict[str, object] = {
        "vocab_size": 160,
        "hidden_size": 48,
        "intermediate_size": 80,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 64,
        "rope_theta": 50_000.0,
    }
    return ModelConfig.model_validate({**values, **changes})


def rough_model(config: ModelConfig, seed: int = 1) -> LanguageModel:
    """A model with weights large enough that every sub-layer, norms included, shows in the logits."""
    model, generator = LanguageModel(config), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            mean, std = (0.0, 0.3) if weight.dim() > 1 else (1.0, 0.3)
            weight.normal_(mean, std, generator=generator)
    return model.eval()


def tokens(config: ModelConfig, batch: int = 2, length: int = 24, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, config.vocab_size, (batch, length), generator=generator)


def reference_model(model: LanguageModel) -> torch.nn.Module:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    reference = Qwen3ForCausalLM(Qwen3Config.from_dict(model.config.to_hf())).eval()
    outcome = reference.load_state_dict(model.state_dict(), strict=False)
    assert outcome.unexpected_keys == []
    assert set(outcome.missing_keys) <= {"lm_head.weight"}
    reference.tie_weights()
    return reference


@pytest.mark.parametrize("shared_heads", [1, 2, 4])
@pytest.mark.parametrize("tied", [True, False])
@torch.no_grad()
def test_logits_equal_those_of_transformers(shared_heads: int, tied: bool) -> None:
    config = small_config(num_key_value_heads=shared_heads, tie_word_embeddings=tied)
    model = rough_model(config)
    ids = tokens(config)
    expected = reference_model(model)(ids).logits
    assert expected.abs().max() > 5  # else closeness would say nothing
    torch.testing.assert_close(model(ids), expected, atol=1e-4, rtol=0)


@torch.no_grad()
def test_padded_rows_equal_those_of_transformers() -> None:
    config = small_config()
    model, ids = rough_model(config), tokens(config)
    mask = torch.ones(ids.shape, dtype=torch.bool)
    mask[1, 15:] = False
    expected = reference_model(model)(ids, attention_mask=mask.long()).logits
    torch.testing.assert_close(model(ids, attention_mask=mask)[mask], expected[mask], atol=1e-4, rtol=0)


@torch.no_grad()
def test_gradients_equal_those_of_transformers() -> None:
    config = small_config()
    model = rough_model(config)
    reference, ids = reference_model(model), tokens(config)
    with torch.enable_grad():
        for network in (lambda: model(ids), lambda: reference(ids).logits):
            F.cross_entropy(network()[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
    expected = dict(reference.named_parameters())
    for name, weight in model.named_parameters():
        torch.testing.assert_close(weight.grad, expected[name].grad, atol=1e-4, rtol=1e-3, msg=name)


@torch.no_grad()
def test_causal_attention_is_blind_to_the_future() -> None:
    config = small_config()
    model, ids = rough_model(config), tokens(config)
    changed = ids.clone()
    changed[:, 10] = (changed[:, 10] + 1) % config.vocab_size
    before, after = model(ids), model(changed)
    torch.testing.assert_close(before[:, :10], after[:, :10], atol=1e-5, rtol=0)
    assert ((before[:, 10:] - after[:, 10:]).abs().amax(-1) > 1e-3).all()


@torch.no_grad()
def test_bidirectional_attention_sees_the_future() -> None:
    config = small_config()
    model, ids = rough_model(config), tokens(config)
    changed = ids.clone()
    changed[:, -1] = (changed[:, -1] + 1) % config.vocab_size
    difference = (model(ids, causal=False) - model(changed, causal=False)).abs().amax(-1)
    assert (difference > 1e-4).all()


@pytest.mark.parametrize("causal", [True, False])
@torch.no_grad()
def test_padding_changes_nothing_and_is_never_nan(causal: bool) -> None:
    config = small_config()
    model, ids = rough_model(config), tokens(config, batch=1, length=12)
    alone = model(ids, causal=causal)
    for left, right in ((0, 5), (5, 0)):
        padded = F.pad(ids, (left, right), value=1)
        mask = F.pad(torch.ones_like(ids), (left, right)).bool()
        scores = model(padded, causal=causal, attention_mask=mask)
        assert torch.isfinite(scores).all()
        # Left padding shifts all positions alike; rotary embedding knows only differences.
        torch.testing.assert_close(scores[:, left : left + 12], alone, atol=1e-3, rtol=0)


@pytest.mark.parametrize("shared_heads", [2, 4])
@pytest.mark.parametrize("pieces", [[24], [10] + [1] * 14, [5, 7, 1, 11], [1] * 24])
@torch.no_grad()
def test_cache_equals_full_recompute(shared_heads: int, pieces: list[int]) -> None:
    config = small_config(num_key_value_heads=shared_heads)
    model, ids = rough_model(config), tokens(config)
    cache = KeyValueCache(24)
    parts = [model(part, cache=cache) for part in ids.split(pieces, dim=1)]
    assert cache.length == 24
    torch.testing.assert_close(torch.cat(parts, dim=1), model(ids), atol=1e-4, rtol=0)


@torch.no_grad()
def test_cache_honours_padding_and_can_be_reset() -> None:
    config = small_config()
    model, ids = rough_model(config), tokens(config)
    mask = torch.ones(ids.shape, dtype=torch.bool)
    mask[0, :6] = False
    cache = KeyValueCache(24)
    for _ in range(2):
        cache.reset()
        model(ids[:, :20], attention_mask=mask[:, :20], cache=cache)
        last = model(ids[:, 20:], attention_mask=mask, cache=cache)
        expected = model(ids, attention_mask=mask)[:, 20:]
        torch.testing.assert_close(last, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("causal", [True, False])
def test_no_position_is_left_with_nothing_to_look_at(causal: bool) -> None:
    padding = torch.zeros(2, 7, dtype=torch.bool)
    pattern, is_causal = attention_pattern(5, 2, causal, padding, padding.device)
    assert pattern is not None and pattern.any(-1).all() and not is_causal


def test_too_many_tokens_and_wrong_masks_are_refused() -> None:
    config = small_config(max_position_embeddings=16)
    model, ids = LanguageModel(config), tokens(config, length=17)
    with pytest.raises(ValueError, match=r"17 tokens exceed max_position_embeddings \(16\)"):
        model(ids)
    with pytest.raises(ValueError, match="attention_mask has shape"):
        model(ids[:, :8], attention_mask=torch.ones(2, 9, dtype=torch.bool))
    with pytest.raises(ValueError, match="needs causal attention"):
        model(ids[:, :8], causal=False, cache=KeyValueCache(8))
    with pytest.raises(ValueError, match="the cache holds 4 tokens; 8 were given"):
        model(ids[:, :8], cache=KeyValueCache(4))


@pytest.mark.parametrize(("hidden", "layers", "vocabulary"), [(32, 1, 300), (256, 4, 8192), (768, 2, 4096)])
@torch.no_grad()
def test_first_loss_is_that_of_a_uniform_guess(hidden: int, layers: int, vocabulary: int) -> None:
    config = small_config(
        hidden_size=hidden, num_hidden_layers=layers, vocab_size=vocabulary, max_position_embeddings=256
    )
    ids = tokens(config, batch=2, length=256)
    for causal in (True, False):
        scores = LanguageModel(config)(ids, causal=causal)
        loss = F.cross_entropy(scores[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        assert loss.item() == pytest.approx(math.log(vocabulary), rel=0.01)


def test_weights_depend_on_the_seed_alone() -> None:
    config = small_config()
    torch.manual_seed(1)
    first = LanguageModel(config, seed=3).state_dict()
    torch.manual_seed(2)
    second, other = LanguageModel(config, seed=3).state_dict(), LanguageModel(config, seed=4).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["model.embed_tokens.weight"], other["model.embed_tokens.weight"])


def test_residual_projections_start_smaller() -> None:
    config = small_config(num_hidden_layers=8, hidden_size=128, intermediate_size=256)
    layer = LanguageModel(config).state_dict()
    up, down = (layer[f"model.layers.3.mlp.{name}_proj.weight"].std().item() for name in ("up", "down"))
    assert up == pytest.approx(config.initializer_range, rel=0.05)
    assert down == pytest.approx(config.initializer_range / 4, rel=0.05)


@pytest.mark.parametrize("tied", [True, False])
def test_parameter_count_is_exact(tied: bool) -> None:
    model = LanguageModel(small_config(tie_word_embeddings=tied))
    tables = sum(
        weight.numel() for name, weight in model.named_parameters() if "embed" in name or "lm_head" in name
    )
    total = sum(weight.numel() for weight in model.parameters())
    assert model.config.parameter_count() == total
    assert model.config.parameter_count(embeddings=False) == total - tables


def test_bfloat16_autocast_stays_close_and_learns() -> None:
    config = small_config()
    model, ids = LanguageModel(config), tokens(config, batch=4)
    exact = model(ids).detach()
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for step in range(30):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            scores = model(ids)
        if step == 0:
            torch.testing.assert_close(scores.detach().float(), exact, atol=0.02, rtol=0.02)
        loss = F.cross_entropy(scores[:, :-1].flatten(0, 1).float(), ids[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


def test_the_graph_has_no_breaks() -> None:
    model = rough_model(small_config())
    ids = tokens(model.config)
    for causal in (True, False):
        compiled = torch.compile(model, fullgraph=True, backend="eager")
        with torch.no_grad():
            torch.testing.assert_close(compiled(ids, causal=causal), model(ids, causal=causal))


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"num_key_value_heads": 3}, r"num_attention_heads \(4\) must be a multiple of num_key_value_heads"),
        ({"head_dim": 15}, r"head_dim \(15\) must be even"),
        ({"pad_token_id": 160}, r"pad_token_id \(160\) must be at least 0 and below vocab_size \(160\)"),
        ({"extra_eos_token_ids": (-1,)}, "extra_eos_token_ids"),
        ({"max_position_embeddings": 10_000_000, "head_dim": 64}, "must not exceed"),
        ({"hiden_size": 3}, "Extra inputs"),
        ({"rope_theta": math.inf}, "finite"),
    ],
)
def test_impossible_shapes_are_refused_with_the_rule(change: dict[str, object], rule: str) -> None:
    with pytest.raises(ValidationError, match=rule):
        small_config(**change)
