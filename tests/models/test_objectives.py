"""Each objective against a slow float64 reference; masks are reproducible and never hide a separator."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from models.linear_cross_entropy import linear_cross_entropy, output_head, token_losses
from models.loader import Batch
from models.objectives import causal_loss, draw_mask, masked_loss, step_loss
from models.transformer import LanguageModel
from tests.models.tiny_training import TINY, VOCABULARY, tiny_config

MASK = 2


@pytest.fixture
def model() -> LanguageModel:
    made = LanguageModel(TINY, seed=1).double()
    with torch.no_grad():
        for weight in made.parameters():
            weight.mul_(3.0)  # away from uniform, so that a wrong shift shows
    return made


@pytest.fixture
def tokens() -> Tensor:
    generator = np.random.default_rng(5)
    ids = generator.integers(3, VOCABULARY, (6, 17))
    ids[:, [0, 9]] = 0
    return torch.from_numpy(ids)


def reference(logits: Tensor, target: int) -> float:
    values = logits.tolist()
    return math.log(sum(math.exp(value) for value in values)) - values[target]


def slow_causal(model: LanguageModel, tokens: Tensor) -> float:
    losses = []
    for row in tokens:
        for place in range(1, len(row)):
            logits = model(row[None, :place])[0, -1]
            losses.append(reference(logits, int(row[place])))
    return sum(losses) / len(losses)


def slow_masked(model: LanguageModel, ids: Tensor, places: Tensor, weights: Tensor) -> float:
    losses = []
    for row, where, counts in zip(ids, places, weights, strict=True):
        hidden = [int(place) for place, count in zip(where, counts, strict=True) if count]
        shown = row.clone()
        shown[hidden] = MASK
        logits = model(shown[None], causal=False)[0]
        losses += [reference(logits[place - 1], int(row[place])) for place in hidden]
    return sum(losses) / len(losses)


def test_causal_matches_the_reference(model: LanguageModel, tokens: Tensor) -> None:
    assert float(causal_loss(model.model, output_head(model), tokens).detach()) == pytest.approx(
        slow_causal(model, tokens), abs=1e-6
    )


def test_masked_matches_the_reference(model: LanguageModel, tokens: Tensor) -> None:
    ids = tokens[:, :-1].clone()
    ids[2, 1:] = 0
    ids[2, 5] = 7  # one row with a single word that may be hidden
    mask = draw_mask(ids, ratio=0.3, seed=0, step=4, first_row=0)
    assert mask.weights[2].sum() == 1
    fast = float(masked_loss(model.model, output_head(model), ids, mask, MASK).detach())
    assert fast == pytest.approx(slow_masked(model, ids, mask.places, mask.weights), abs=1e-6)


def test_hybrid_is_both_and_matches_the_reference(model: LanguageModel, tokens: Tensor) -> None:
    config = tiny_config(objective="hybrid", batch_size=6, causal_fraction=1 / 3)
    rows = config.is_causal_row(np.arange(6))
    assert rows.tolist() == [False, False, True, False, False, True]
    result = step_loss(model.model, output_head(model), Batch(tokens, 4, 0), config, MASK)
    ids = tokens[:, :-1]
    mask = draw_mask(ids, ratio=config.mask_ratio, seed=config.seed, step=4, first_row=0)
    causal = slow_causal(model, tokens[rows])
    masked = slow_masked(model, ids[~rows], mask.places[~rows], mask.weights[~rows])
    assert float(result.metrics["causal_loss"]) == pytest.approx(causal, abs=1e-6)
    assert float(result.metrics["masked_loss"]) == pytest.approx(masked, abs=1e-6)
    assert float(result.loss) == pytest.approx(causal / 3 + masked * 2 / 3, abs=1e-6)
    assert float(result.metrics["causal_tokens"]) == 2 * 16
    assert float(result.metrics["masked_tokens"]) == 4 * round(0.3 * 15)


def test_hybrid_uses_attention_to_both_sides_for_the_masked_part_only(tokens: Tensor) -> None:
    calls: list[tuple[bool, int, bool]] = []

    def trunk(ids: Tensor, *, causal: bool) -> Tensor:
        calls.append((causal, len(ids), bool((ids == MASK).any())))
        return torch.zeros(*ids.shape, 32)

    step_loss(
        trunk,
        torch.zeros(VOCABULARY, 32),
        Batch(tokens, 0, 0),
        tiny_config(objective="hybrid", batch_size=6),
        MASK,
    )
    assert calls == [(True, 3, False), (False, 3, True)]


@pytest.mark.parametrize("objective", ["causal", "masked", "hybrid"])
def test_slices_of_a_batch_average_to_the_whole(model: LanguageModel, tokens: Tensor, objective: str) -> None:
    config = tiny_config(objective=objective, batch_size=6)
    head = output_head(model)
    whole = step_loss(model.model, head, Batch(tokens, 2, 0), config, MASK).loss
    parts = [
        step_loss(model.model, head, Batch(tokens[row : row + 2], 2, row), config, MASK).loss
        for row in (0, 2, 4)
    ]
    assert float(sum(parts) / 3) == pytest.approx(float(whole), abs=1e-6)


def test_masks_depend_on_seed_step_and_row_alone(tokens: Tensor) -> None:
    def places(first: int = 0, last: int = 6, **changes: int) -> Tensor:
        given = {"seed": 1, "step": 2} | changes
        return draw_mask(tokens[first:last], ratio=0.3, first_row=first, **given).places

    assert torch.equal(places(), places())
    assert torch.equal(places()[4:], places(first=4))
    assert not torch.equal(places(), places(step=3))
    assert not torch.equal(places(), places(seed=2))


@pytest.mark.parametrize("ratio", [0.05, 0.3, 0.9])
def test_masks_have_the_asked_share_and_spare_the_separator(tokens: Tensor, ratio: float) -> None:
    for step in range(50):
        mask = draw_mask(tokens, ratio=ratio, seed=0, step=step, first_row=0)
        assert mask.places.shape[1] == max(1, round(ratio * 16))
        for places in mask.places.tolist():
            assert len(set(places)) == len(places)
        counted = mask.weights > 0
        assert (tokens.gather(1, mask.places)[counted] != 0).all()
        assert (mask.places[counted] >= 1).all()


def test_a_hidden_word_cannot_be_seen(model: LanguageModel, tokens: Tensor) -> None:
    """Changing a hidden word changes only its target: the inputs the trunk sees stay the same."""
    seen: list[Tensor] = []

    def trunk(ids: Tensor, *, causal: bool) -> Tensor:
        seen.append(ids)
        return model.model(ids, causal=causal)

    mask = draw_mask(tokens, ratio=0.3, seed=0, step=0, first_row=0)
    changed = tokens.clone()
    row, place = 0, int(mask.places[0, 0])
    changed[row, place] = 3 + (int(tokens[row, place]) + 1) % 50
    for ids in (tokens, changed):
        masked_loss(trunk, output_head(model), ids, mask, MASK)
    assert torch.equal(seen[0], seen[1])


@pytest.mark.parametrize("rows", [1, 128, 300])
def test_chunked_cross_entropy_has_the_plain_value_and_gradients(rows: int) -> None:
    torch.manual_seed(0)
    hidden = torch.randn(rows, 8, dtype=torch.float64, requires_grad=True)
    head = torch.randn(50, 8, dtype=torch.float64, requires_grad=True)
    targets, weights = torch.randint(0, 50, (rows,)), torch.rand(rows, dtype=torch.float64)
    plain = (torch.nn.functional.cross_entropy(hidden @ head.T, targets, reduction="none") * weights).sum()
    expected = torch.autograd.grad(2.5 * plain, (hidden, head))
    fused = linear_cross_entropy(hidden, head, targets, weights)
    found = torch.autograd.grad(2.5 * fused, (hidden, head))
    assert float(fused) == pytest.approx(float(plain), rel=1e-12)
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-12)
    assert torch.allclose(
        token_losses(hidden, head, targets),
        -(hidden @ head.T).log_softmax(-1)[torch.arange(rows), targets].float(),
    )


def test_chunked_cross_entropy_survives_large_logits_and_autocast() -> None:
    hidden = torch.full((3, 4), 200.0, requires_grad=True)
    head = torch.eye(4) * 5
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = linear_cross_entropy(hidden, head, torch.tensor([0, 1, 2]), torch.full((3,), 1 / 3))
    loss.backward()
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(math.log(4), rel=1e-3)
    assert hidden.grad is not None and bool(torch.isfinite(hidden.grad).all())
