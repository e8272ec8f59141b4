"""Batches of training windows as a pure function of (seed, step): nothing to lose on a crash.

An epoch cuts the ids into windows of T tokens, starting at a random phase and wrapping round the end, and
visits them in random order, so every token is a target exactly once (less the tail shorter than T, elsewhere
each epoch). A place in training is counted in global samples: any number of ranks sees the same order, and
resuming at step k is asking for batch k.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from models.shards import ShardError, TokenShard

_EPOCHS_KEPT = 2  # a batch may lie across the border of two epochs


class Batch(NamedTuple):
    """What one rank trains on in one optimiser step: (B / ranks, T + 1) ids and where it stands."""

    tokens: Tensor
    step: int
    first_row: int  # of the global batch, so that masks do not depend on how many ranks there are


class WindowSampler:
    """Which windows each step sees; `batch_size` counts all ranks together."""

    def __init__(
        self,
        shard: TokenShard,
        *,
        context_length: int,
        batch_size: int,
        seed: int,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        """Sample windows of `context_length` tokens (and one target more) from `shard`.

        Raises:
            ShardError: the shard is shorter than one window.
            ValueError: `batch_size` does not divide by `ranks`.

        """
        if len(shard) < context_length + 1:
            raise ShardError(
                f"{shard.path}: {len(shard)} tokens are too few for one window of {context_length + 1}; "
                "add text or lower context_length"
            )
        if batch_size % ranks:
            raise ValueError(f"batch_size ({batch_size}) must be a multiple of the number of ranks ({ranks})")
        self._shard, self._context, self._batch, self._seed = shard, context_length, batch_size, seed
        self._local = batch_size // ranks
        self.first_row = rank * self._local
        self.windows_per_epoch = len(shard) // context_length
        self._epochs: dict[int, tuple[int, NDArray[Any]]] = {}

    def windows_of(self, step: int) -> NDArray[np.int64]:
        """Offset of the first token of every window, (B,), that all ranks together see at `step` (from 0).

        A window that begins near the end of the shard goes on at its beginning.
        """
        samples = np.arange(step * self._batch, (step + 1) * self._batch, dtype=np.int64)
        epochs, places = np.divmod(samples, self.windows_per_epoch)
        return np.array([self._offset(int(e), int(p)) for e, p in zip(epochs, places, strict=True)], np.int64)

    def place(self, step: int) -> dict[str, int]:
        """Where training stands before `step`, in samples of all ranks: the same on any number of them."""
        epoch, within = divmod(step * self._batch, self.windows_per_epoch)
        return {
            "samples": step * self._batch,
            "epoch": epoch,
            "samples_in_epoch": within,
            "samples_per_epoch": self.windows_per_epoch,
            "seed": self._seed,
        }

    def batch(self, step: int) -> NDArray[np.int64]:
        """This rank's rows of the batch of `step`: (B / ranks, T + 1) ids."""
        offsets = self.windows_of(step)[self.first_row : self.first_row + self._local]
        places = (offsets[:, None] + np.arange(self._context + 1)) % len(self._shard)
        ids: NDArray[np.int64] = self._shard.tokens[places].astype(np.int64)
        return ids

    def _offset(self, epoch: int, place: int) -> int:
        if epoch not in self._epochs:
            for old in sorted(self._epochs)[: 1 - _EPOCHS_KEPT or None]:
                del self._epochs[old]
            self._epochs[epoch] = self._shuffle(epoch)
        phase, order = self._epochs[epoch]
        return (phase + int(order[place]) * self._context) % len(self._shard)

    def _shuffle(self, epoch: int) -> tuple[int, NDArray[Any]]:
        generator = np.random.default_rng([self._seed, epoch])
        small = self.windows_per_epoch <= np.iinfo(np.uint32).max
        order = np.arange(self.windows_per_epoch, dtype=np.uint32 if small else np.int64)
        phase = int(generator.integers(len(self._shard)))
        generator.shuffle(order)
        return phase, order


class TrainingStream(IterableDataset[Batch]):
    """Endless batches for Lightning, beginning at the step that `first_step` names when iteration begins.

    Lightning restarts a plain loader from its first batch on resume; this one asks the trainer where it
    stands.
    """

    def __init__(self, sampler: WindowSampler, first_step: Callable[[], int]) -> None:
        """Stream the batches of `sampler`."""
        self._sampler, self._first_step = sampler, first_step

    def __iter__(self) -> Iterator[Batch]:
        step = self._first_step()
        while True:
            yield Batch(torch.from_numpy(self._sampler.batch(step)), step, self._sampler.first_row)
            step += 1


def training_loader(sampler: WindowSampler, first_step: Callable[[], int]) -> DataLoader[Batch]:
    """Wrap the stream in a DataLoader without workers: gathering a batch takes microseconds."""
    return DataLoader(TrainingStream(sampler, first_step), batch_size=None, num_workers=0)
