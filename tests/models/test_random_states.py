"""Every generator goes on where it stood, and its state is read without pickle."""

from __future__ import annotations

import io
import random

import numpy as np
import torch

from models import random_states

CPU = torch.device("cpu")


def draw() -> tuple[float, float, float, float, float]:
    return (
        random.random(),
        random.gauss(0.0, 1.0),
        float(np.random.rand()),
        float(np.random.standard_normal()),
        float(torch.rand(())),
    )


def test_what_is_drawn_next_is_the_same_after_a_trip_to_disk() -> None:
    draw()  # leaves a spare normal number behind in Python's and NumPy's generators
    buffer = io.BytesIO()
    torch.save(random_states.capture(CPU), buffer)
    expected = [draw() for _ in range(5)]
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    assert draw() != expected[0]
    buffer.seek(0)
    random_states.restore(torch.load(buffer, weights_only=True), CPU)
    assert [draw() for _ in range(5)] == expected


def test_packed_for_another_rank_it_is_the_same() -> None:
    state = random_states.capture(CPU)
    packed = random_states._pack(state)
    assert packed.dtype == torch.uint8
    random_states.restore(random_states._unpack(packed), CPU)
    again = random_states.capture(CPU)
    assert torch.equal(again["torch"], state["torch"])
    assert torch.equal(again["python"][1], state["python"][1])
    assert torch.equal(again["numpy"]["key"], state["numpy"]["key"])
