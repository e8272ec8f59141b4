"""Muon against torch's own and against the singular values; groups, decay and schedules."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from models.optimiser import MuonAdamW, make_optimiser, orthogonalise
from models.training_config import TrainingConfig, learning_rate_factor
from models.transformer import LanguageModel
from tests.models.tiny_training import TINY, tiny_config


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 32, 8), (4, 8, 24)])
def test_orthogonalise_brings_singular_values_near_one(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalise(torch.randn(shape), torch.float32))
    assert float(values.min()) > 0.3
    assert float(values.max()) < 1.3


def test_a_batch_is_orthogonalised_matrix_by_matrix() -> None:
    torch.manual_seed(0)
    matrices = torch.randn(3, 12, 8) * torch.tensor([1e-3, 1.0, 1e3])[:, None, None]
    together = orthogonalise(matrices, torch.float32)
    alone = torch.cat([orthogonalise(matrix[None], torch.float32) for matrix in matrices])
    assert torch.allclose(together, alone, atol=1e-5)


def test_muon_takes_the_steps_of_torch() -> None:
    torch.manual_seed(0)
    ours = [
        nn.Parameter(torch.randn(12, 8)),
        nn.Parameter(torch.randn(8, 8)),
        nn.Parameter(torch.randn(12, 8)),
    ]
    theirs = [nn.Parameter(p.detach().clone()) for p in ours]
    settings = {"lr": 0.02, "weight_decay": 0.1}
    mine = MuonAdamW(
        [{"params": ours, "kind": "muon", **settings}], momentum=0.95, orthogonal_dtype=torch.bfloat16
    )
    reference = torch.optim.Muon(theirs, momentum=0.95, **settings)
    for _ in range(3):
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn_like(one)
            other.grad = one.grad.clone()
        mine.step()
        reference.step()
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, atol=1e-3)  # both iterate in bf16, which keeps three digits


def test_adamw_takes_the_steps_of_torch() -> None:
    torch.manual_seed(0)
    ours = nn.Parameter(torch.randn(7, 5))
    theirs = nn.Parameter(ours.detach().clone())
    settings = {"lr": 0.01, "weight_decay": 0.1, "betas": (0.9, 0.95)}
    mine = MuonAdamW(
        [{"params": [ours], "kind": "adamw", **settings}], momentum=0.0, orthogonal_dtype=torch.float32
    )
    reference = torch.optim.AdamW([theirs], **settings)
    for _ in range(5):
        ours.grad = torch.randn_like(ours)
        theirs.grad = ours.grad.clone()
        mine.step()
        reference.step()
    assert torch.allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize(("optimiser", "kind"), [("muon", "muon"), ("adamw", "adamw")])
def test_every_parameter_is_in_the_right_group(optimiser: str, kind: str) -> None:
    model = LanguageModel(TINY.model_copy(update={"tie_word_embeddings": False}))
    made = make_optimiser(model, tiny_config(optimiser=optimiser), orthogonal_dtype=torch.float32)
    hidden, rest = made.param_groups
    names = {parameter: name for name, parameter in model.named_parameters()}
    assert (hidden["kind"], rest["kind"]) == (kind, "adamw")
    assert {names[p].rsplit(".", 2)[-2] for p in hidden["params"]} == {
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
    }  # fmt: skip
    assert {"model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"} <= {
        names[p] for p in rest["params"]
    }
    assert len(hidden["params"]) + len(rest["params"]) == len(names)
    assert (hidden["weight_decay"], rest["weight_decay"]) == (tiny_config().weight_decay, 0.0)


@pytest.mark.parametrize("optimiser", ["muon", "adamw"])
def test_the_state_survives_a_weights_only_file(tmp_path: object, optimiser: str) -> None:
    def step(model: LanguageModel, made: MuonAdamW, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        made.step()

    config = tiny_config(optimiser=optimiser)
    model = LanguageModel(TINY)
    made = make_optimiser(model, config, orthogonal_dtype=torch.float32)
    step(model, made, 0)
    torch.save(made.state_dict(), f"{tmp_path}/state.pt")
    twin = LanguageModel(TINY)
    twin.load_state_dict(model.state_dict())
    other = make_optimiser(twin, config, orthogonal_dtype=torch.float32)
    other.load_state_dict(torch.load(f"{tmp_path}/state.pt", weights_only=True))
    step(model, made, 1)
    step(twin, other, 1)
    for one, copy in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(one, copy)


def test_rates_are_set_from_their_peaks() -> None:
    made = make_optimiser(LanguageModel(TINY), tiny_config(), orthogonal_dtype=torch.float32)
    made.set_learning_rates(0.5)
    made.set_learning_rates(0.25)
    assert [group["lr"] for group in made.param_groups] == [0.02 * 0.25, 0.003 * 0.25]


def schedule(**changes: object) -> list[float]:
    config = TrainingConfig(**({"steps": 100, "warmup_fraction": 0.1, "decay_fraction": 0.3} | changes))
    return [learning_rate_factor(config, step) for step in range(config.steps)]


def test_warmup_stable_decay_has_three_straight_parts() -> None:
    factors = schedule()
    assert factors[:10] == pytest.approx([(step + 1) / 11 for step in range(10)])
    assert factors[10:70] == [1.0] * 60
    assert factors[70:] == pytest.approx([(100 - step) / 31 for step in range(70, 100)])


def test_cosine_falls_from_one_to_nearly_nothing() -> None:
    factors = schedule(schedule="cosine")
    assert factors[10] == 1.0
    assert factors[55] == pytest.approx(0.5)
    assert 0.0 < factors[-1] < 0.001


@given(
    steps=st.integers(1, 400),
    warmup=st.floats(0, 0.5),
    decay=st.floats(0, 0.5),
    kind=st.sampled_from(["warmup-stable-decay", "cosine"]),
)
def test_schedules_rise_then_fall_and_stay_positive(
    steps: int, warmup: float, decay: float, kind: str
) -> None:
    factors = schedule(steps=steps, warmup_fraction=warmup, decay_fraction=decay, schedule=kind)
    peak = factors.index(max(factors))
    assert all(0.0 < factor <= 1.0 for factor in factors)
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"warmup_fraction": 0.7, "decay_fraction": 0.7},
        {"batch_size": 6, "gradient_accumulation": 4},
        {"betas": (0.9, 1.0)},
        {"objective": "hybrid", "batch_size": 1},
        {"learning_rate": float("nan")},
        {"unknown": 1},
    ],
)
def test_configurations_that_cannot_work_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TrainingConfig(**wrong)
