"""Fully sharded training (FSDP2, Zhao et al. 2023): each rank holds its rows of all weights and optimiser state.

Lightning's `ModelParallelStrategy` runs it. Its checkpoints are not used: they are not atomic, nothing vouches for
their bytes, and their index is a pickle. Here every rank writes its rows (`models.row_files`) into one folder, and
rank 0 publishes that folder as it does any other checkpoint (`models.checkpoint_io`), so that either kind can be gone
on with by any number of ranks. docs/decisions/0016-ranks.md.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.strategies import ModelParallelStrategy
from safetensors import safe_open
from torch import Tensor, distributed, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from models.checkpoint import WEIGHT_ROWS, load_state, verify
from models.checkpoint_files import WEIGHTS, CheckpointError
from models.checkpoint_io import VerifiedCheckpointIO
from models.dtensors import cut_like, local, own_rows
from models.row_files import MARK, PATTERN, Part, RowFiles, cut, write_rows

_SPACE_FACTOR = 1.1


class ShardedCheckpointIO(VerifiedCheckpointIO):
    """Publishes a folder that every rank has written its rows into."""

    def __init__(self, identity: Mapping[str, str], prefix: str) -> None:
        super().__init__(identity, prefix)
        self.prefix = prefix
        self._rows: Path | None = None

    def publish(self, rest: dict[str, Any], rows: Path, target: Path) -> None:
        """Make a checkpoint of what is not cut by rows and of the files in the folder `rows`."""
        self._rows = rows
        try:
            self.save_checkpoint({**rest, "state_dict": {}}, target)
        finally:
            self._rows = None

    def _fill(self, folder: Path, weights: dict[str, Tensor], state: dict[str, Any]) -> None:
        if self._rows is not None:
            for file in sorted(self._rows.glob(PATTERN)):
                file.rename(folder / file.name)
        super()._fill(folder, weights, state)


class ShardedStrategy(ModelParallelStrategy):
    """FSDP2 under Lightning, with checkpoints of ours."""

    def __init__(self, ranks: int, timeout: timedelta) -> None:
        super().__init__(data_parallel_size=ranks, tensor_parallel_size=1, timeout=timeout)
        self._root: Any = None

    def shard(self, root: nn.Module, layers: Iterable[nn.Module]) -> None:
        """Deal out the weights: each of `layers` comes together for its own work only, the rest of `root` for all."""
        if self._root is None:
            mesh = self.device_mesh["data_parallel"]
            for layer in layers:
                fully_shard(layer, mesh=mesh)
            self._root = fully_shard(root, mesh=mesh)

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Have what lies outside the layers whole, to run the network otherwise than through the root."""
        self._root.unshard()
        try:
            yield
        finally:
            self._root.reshard()

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """The weights, each rank with its rows."""
        return dict(self._module().state_dict())

    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """The optimiser's state, each rank with its rows."""
        plain = optimizer._optimizer if isinstance(optimizer, LightningOptimizer) else optimizer
        return dict(plain.state_dict())

    def save_checkpoint(
        self, checkpoint: dict[str, Any], filepath: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint with all ranks; it appears whole or not at all.

        Raises:
            CheckpointError: on every rank, naming the ranks that could not write and why.
        """
        target = Path(filepath)
        rows = target.parent / self.broadcast(f".tmp-rows-{target.name}-{uuid.uuid4().hex}")
        parts, rest = _taken_apart(checkpoint, self._io().prefix)
        try:
            self._together(lambda: self._make_room(rows, parts))
            self._together(lambda: self._write(rows, parts))
            self._together(lambda: self._io().publish(rest, rows, target) if self.is_global_zero else None)
        finally:
            if self.is_global_zero:
                shutil.rmtree(rows, ignore_errors=True)

    def load_checkpoint(
        self, checkpoint_path: str | Path, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Take up this rank's rows of a verified checkpoint, whoever wrote it; return the rest of its state.

        Raises:
            CheckpointError: it is damaged, or a number in it is not finite.
        """
        path = Path(checkpoint_path)
        verify(path)
        state, rows = load_state(path), RowFiles(path)
        with torch.no_grad():
            for name, weight in self._module().named_parameters():
                read = _weight_rows(path, rows, name.removeprefix(self._io().prefix), *own_rows(weight))
                _refuse_non_finite(name, read)
                local(weight).copy_(read)
        for optimiser, saved in zip(self.optimizers, state.pop("optimizer_states", []), strict=True):
            _restore(optimiser, saved, rows)
        return {**state, "state_dict": {}}

    def _make_room(self, rows: Path, parts: Mapping[str, Part]) -> None:
        needed = torch.tensor(sum(part.rows.nbytes for part in parts.values()), device=self.root_device)
        distributed.all_reduce(needed)
        if self.is_global_zero:
            rows.mkdir(parents=True)
            free = shutil.disk_usage(rows).free
            if free < _SPACE_FACTOR * int(needed):
                raise CheckpointError(
                    f"{rows.parent}: a checkpoint needs {int(needed)} bytes and {free} are free"
                )

    def _write(self, rows: Path, parts: Mapping[str, Part]) -> None:
        for name, part in parts.items():
            _refuse_non_finite(name, part.rows)
        write_rows(rows, parts, self.global_rank, self.world_size)

    def _together(self, action: Callable[[], None]) -> None:
        """Do something on every rank; if it fails on one, it has failed on all."""
        failure = None
        try:
            action()
        except (OSError, ValueError, RuntimeError) as error:
            failure = f"{error}"
        told: list[str | None] = [None] * self.world_size
        distributed.all_gather_object(told, failure)
        found = [f"rank {rank}: {text}" for rank, text in enumerate(told) if text is not None]
        if found:
            raise CheckpointError("; ".join(found))

    def _io(self) -> ShardedCheckpointIO:
        if not isinstance(self.checkpoint_io, ShardedCheckpointIO):
            raise TypeError("sharded training needs a ShardedCheckpointIO")
        return self.checkpoint_io

    def _module(self) -> pl.LightningModule:
        if self.lightning_module is None:
            raise RuntimeError("there is no module yet")
        return self.lightning_module


def _taken_apart(checkpoint: Mapping[str, Any], prefix: str) -> tuple[dict[str, Part], dict[str, Any]]:
    """This rank's rows by name, and the rest with a mark for each."""
    parts: dict[str, Part] = {}

    def take(name: str, leaf: Any) -> bool:
        if isinstance(leaf, DTensor):
            parts[name] = Part(leaf.to_local(), own_rows(leaf)[0], tuple(leaf.shape))
        return isinstance(leaf, DTensor)

    weights = checkpoint["state_dict"].items()
    cut({name.removeprefix(prefix): tensor for name, tensor in weights}, take, WEIGHT_ROWS.rstrip("/"))
    rest = {name: value for name, value in checkpoint.items() if name != "state_dict"}
    return parts, dict(cut(rest, take))


def _weight_rows(path: Path, rows: RowFiles, name: str, start: int, end: int) -> Tensor:
    if WEIGHT_ROWS + name in rows.names:
        return rows.rows(WEIGHT_ROWS + name, start, end)
    with safe_open(path / WEIGHTS, framework="pt") as file:
        read: Tensor = file.get_slice(name)[start:end]
        return read


def _restore(optimiser: torch.optim.Optimizer, saved: dict[str, Any], rows: RowFiles) -> None:
    """Load an optimiser's state, of which tensors as large as their parameter are dealt out as it is."""
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]

    def own(value: Any, parameter: Tensor) -> Any:
        if isinstance(value, dict):
            return cut_like(rows.rows(str(value[MARK]), *own_rows(parameter)), parameter)
        if isinstance(value, Tensor) and value.shape == parameter.shape:
            start, end = own_rows(parameter)
            return cut_like(value[start:end].clone(), parameter)
        return value

    state = {
        place: {name: own(value, parameters[place]) for name, value in values.items()}
        for place, values in saved["state"].items()
    }
    optimiser.load_state_dict({"state": state, "param_groups": saved["param_groups"]})


def _refuse_non_finite(name: str, rows: Tensor) -> None:
    if rows.is_floating_point() and not bool(torch.isfinite(rows).all()):
        raise CheckpointError(f"{name} is not finite; it was neither saved nor used")
