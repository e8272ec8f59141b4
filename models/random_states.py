"""Every random generator of every rank, in a form that a checkpoint can hold and read back without pickle.

Training here draws nothing from them; what somebody adds to it may, and must go on where it stood.
"""

from __future__ import annotations

import io
import random
from typing import Any

import numpy as np
import torch
from pytorch_lightning.strategies import Strategy
from torch import Tensor

State = dict[str, Any]


def capture(device: torch.device) -> State:
    """The states of Python's, NumPy's and torch's generators, the last for the CPU and for `device`."""
    version, words, spare = random.getstate()
    legacy: Any = np.random.get_state(legacy=False)
    return {
        "python": [version, torch.tensor(words), spare],
        "numpy": {
            "key": torch.from_numpy(legacy["state"]["key"].astype(np.int64)),
            "position": int(legacy["state"]["pos"]),
            "has_spare": int(legacy["has_gauss"]),
            "spare": float(legacy["gauss"]),
        },
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def restore(state: State, device: torch.device) -> None:
    """Put all generators back to where `capture` found them."""
    version, words, spare = state["python"]
    random.setstate((version, tuple(words.tolist()), spare))
    numpy = state["numpy"]
    key = numpy["key"].numpy().astype(np.uint32)
    np.random.set_state(("MT19937", key, numpy["position"], numpy["has_spare"], numpy["spare"]))
    torch.set_rng_state(state["torch"])
    if device.type == "cuda" and state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"], device)


def gather(strategy: Strategy, ranks: int) -> list[State]:
    """The states of all ranks, in their order; all ranks have to ask together."""
    own = capture(strategy.root_device)
    if ranks == 1:
        return [own]
    packed = _pack(own).to(strategy.root_device)
    sizes = strategy.all_gather(torch.tensor([len(packed)], device=packed.device)).flatten().tolist()
    padded = torch.zeros(max(sizes), dtype=torch.uint8, device=packed.device)
    padded[: len(packed)] = packed
    rows = strategy.all_gather(padded).cpu()
    return [_unpack(row[:size]) for row, size in zip(rows, sizes, strict=True)]


def _pack(state: State) -> Tensor:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8)


def _unpack(packed: Tensor) -> State:
    state: State = torch.load(io.BytesIO(packed.numpy().tobytes()), weights_only=True)
    return state
