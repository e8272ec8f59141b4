"""Batches of examples: every epoch visits each once, in batches of like length, as a function of the step."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.examples import Example, ExampleSampler, collate, example_loader


def examples(lengths: list[int]) -> list[Example]:
    return [Example(tuple(range(1, length + 1)), (place,)) for place, length in enumerate(lengths)]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=90), st.integers(1, 12), st.integers(0, 3))
def test_an_epoch_visits_each_example_at_most_once(lengths: list[int], batch: int, seed: int) -> None:
    sampler = ExampleSampler(examples(lengths), batch_size=batch, pad_id=0, seed=seed)
    size = min(batch, len(lengths))
    assert sampler.batches_per_epoch == len(lengths) // size
    seen = np.concatenate([sampler.members(step) for step in range(sampler.batches_per_epoch)])
    assert len(set(seen.tolist())) == len(seen) == sampler.batches_per_epoch * size
    assert set(seen.tolist()) <= set(range(len(lengths)))


def test_no_example_is_left_out_for_its_length() -> None:
    """Of 10 examples in batches of 4 two are left out of every epoch; over the epochs all take part."""
    sampler = ExampleSampler(examples(list(range(1, 11))), batch_size=4, pad_id=0, seed=0)
    epochs = 200
    seen = np.concatenate([sampler.members(step) for step in range(2 * epochs)])
    shares = np.bincount(seen, minlength=10) / epochs
    assert (abs(shares - 0.8) < 0.12).all()


def test_a_batch_holds_examples_of_like_length_and_each_epoch_another_order() -> None:
    lengths = np.random.default_rng(0).integers(1, 100, size=640).tolist()
    sampler = ExampleSampler(examples(lengths), batch_size=16, pad_id=0, seed=0)
    batches = [sampler.batch(step) for step in range(sampler.batches_per_epoch)]
    cells = sum(batch.input_ids.numel() for batch in batches)
    assert cells < 1.15 * sum(int(batch.attention_mask.sum()) for batch in batches)
    widths = [batch.input_ids.shape[1] for batch in batches]
    assert widths != sorted(widths)
    assert sampler.members(0).tolist() != sampler.members(sampler.batches_per_epoch).tolist()


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    def members(seed: int, steps: list[int]) -> list[list[int]]:
        sampler = ExampleSampler(examples([3, 1, 2] * 9), batch_size=4, pad_id=0, seed=seed)
        return [sampler.members(step).tolist() for step in steps]

    forward = members(1, list(range(20)))
    assert members(1, list(range(19, -1, -1))) == forward[::-1]
    assert members(1, [13]) == [forward[13]]
    assert members(2, list(range(20))) != forward


def test_the_rows_of_a_step_are_those_of_its_examples_each_once() -> None:
    made = [Example((1,) * (1 + place % 3), (0,), f"row-{place // 2}") for place in range(24)]
    sampler = ExampleSampler(made, batch_size=6, pad_id=0, seed=0)
    for step in range(9):
        rows = sampler.rows(step)
        assert len(rows) == len(set(rows))
        assert set(rows) == {made[place].row for place in sampler.members(step)}
    nameless = ExampleSampler(examples([1, 2, 3]), batch_size=3, pad_id=0, seed=0)
    assert sorted(nameless.rows(0)) == ["#0", "#1", "#2"]


def test_a_batch_larger_than_the_set_is_the_set() -> None:
    sampler = ExampleSampler(examples([2, 3]), batch_size=100, pad_id=0, seed=0)
    assert sorted(sampler.members(5).tolist()) == [0, 1]


def test_padding_stands_to_the_right_and_is_masked() -> None:
    batch = collate([Example((5, 6, 7), (1, 2)), Example((8,), (3, 4))], pad_id=9, step=4)
    assert batch.input_ids.tolist() == [[5, 6, 7], [8, 9, 9]]
    assert batch.attention_mask.tolist() == [[True, True, True], [True, False, False]]
    assert batch.targets.tolist() == [[1, 2], [3, 4]]
    assert (batch.step, batch.input_ids.dtype, batch.attention_mask.dtype) == (4, torch.int64, torch.bool)


def test_the_loader_begins_where_it_is_told() -> None:
    sampler = ExampleSampler(examples([2, 3, 4, 5]), batch_size=2, pad_id=0, seed=0)
    stream = iter(example_loader(sampler, lambda: 7))
    for step in (7, 8, 9):
        batch, expected = next(stream), sampler.batch(step)
        assert batch.step == step
        assert torch.equal(batch.input_ids, expected.input_ids)


def test_what_cannot_be_learned_from_is_refused() -> None:
    with pytest.raises(ValueError, match="no example"):
        ExampleSampler([], batch_size=2, pad_id=0, seed=0)
    with pytest.raises(ValueError, match="different numbers of targets"):
        ExampleSampler([Example((1,), (1,)), Example((1,), (1, 2))], batch_size=2, pad_id=0, seed=0)
