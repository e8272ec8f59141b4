"""Tensors of which each rank holds some rows (`DTensor`, as FSDP2 makes them), beside ordinary ones.

FSDP2 deals rows out in equal runs, the last ranks getting fewer or none: `torch.chunk`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor


def local(tensor: Tensor) -> Tensor:
    """The rows of `tensor` that this rank holds, as a view; an ordinary tensor is all its own."""
    if not isinstance(tensor, DTensor):
        return tensor
    rows: Tensor = tensor.to_local()
    return rows


def whole(tensor: Tensor) -> Tensor:
    """All of `tensor`, on every rank; all ranks have to ask."""
    if not isinstance(tensor, DTensor):
        return tensor
    full: Tensor = tensor.full_tensor()
    return full


def own_rows(tensor: Tensor) -> tuple[int, int]:
    """The first row that this rank holds, and the one after the last; of an ordinary tensor, all of them."""
    rows = tensor.shape[0]
    if not isinstance(tensor, DTensor):
        return 0, rows
    chunk = -(-rows // tensor.device_mesh.size())
    start = min(tensor.device_mesh.get_local_rank() * chunk, rows)
    end = min(start + chunk, rows)
    if tensor.to_local().shape[0] != end - start:
        raise RuntimeError(
            f"rows {start} to {end} were expected here, not {tensor.to_local().shape[0]} of them"
        )
    return start, end


@torch.no_grad()
def cut_like(rows: Tensor, tensor: Tensor) -> Tensor:
    """This rank's `rows` as a part of something that is dealt out as `tensor` is."""
    if not isinstance(tensor, DTensor):
        return rows
    return DTensor.from_local(
        rows,
        tensor.device_mesh,
        tensor.placements,
        run_check=False,
        shape=tensor.shape,
        stride=tensor.stride(),
    )
