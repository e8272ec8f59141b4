"""Batches of labelled examples as a pure function of (seed, step): nothing to lose on a crash.

Every epoch visits each example once, in a new order. Examples of similar length share a batch, because
padding costs as much as text; which examples that are is drawn anew in every epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, IterableDataset

from models.heads import ExampleBatch

_POOL_BATCHES = 32  # drawn together, then sorted by length


class Example(NamedTuple):
    """Token ids of one example, what its head is to learn from them, and the labelled row it was made from."""

    input_ids: tuple[int, ...]
    targets: tuple[int, ...]
    row: str = ""


class ExampleSampler:
    """Which examples each step sees."""

    def __init__(self, examples: Sequence[Example], *, batch_size: int, pad_id: int, seed: int) -> None:
        """Draw batches of `batch_size` from `examples`; an epoch's last, smaller batch is left out.

        Raises:
            ValueError: there is no example, or the examples have different numbers of targets.
        """
        if not examples:
            raise ValueError("there is no example to learn from")
        if len({len(example.targets) for example in examples}) > 1:
            raise ValueError("the examples have different numbers of targets")
        self._examples, self._pad_id, self._seed = examples, pad_id, seed
        self._batch = min(batch_size, len(examples))
        self._lengths = np.array([len(example.input_ids) for example in examples])
        self._epoch: tuple[int, NDArray[np.int64]] = (-1, np.empty((0, 0), np.int64))

    @property
    def batches_per_epoch(self) -> int:
        """Steps after which every example was seen once (but those of the incomplete batch)."""
        return len(self._examples) // self._batch

    def members(self, step: int) -> NDArray[np.int64]:
        """Places of the examples of `step` (from 0)."""
        epoch, place = divmod(step, self.batches_per_epoch)
        if self._epoch[0] != epoch:
            self._epoch = (epoch, self._shuffle(epoch))
        members: NDArray[np.int64] = self._epoch[1][place]
        return members

    def rows(self, step: int) -> list[str]:
        """Labelled rows that the examples of `step` (from 0) were made from, each once; without names, their places."""
        return list(dict.fromkeys(self._examples[place].row or f"#{place}" for place in self.members(step)))

    def place(self, step: int) -> dict[str, int]:
        """Where training stands before `step`, in examples."""
        epoch, within = divmod(step, self.batches_per_epoch)
        return {
            "samples": step * self._batch,
            "epoch": epoch,
            "samples_in_epoch": within * self._batch,
            "samples_per_epoch": self.batches_per_epoch * self._batch,
            "seed": self._seed,
        }

    def batch(self, step: int) -> ExampleBatch:
        """The padded examples of `step` (from 0)."""
        return collate([self._examples[place] for place in self.members(step)], self._pad_id, step)

    def _shuffle(self, epoch: int) -> NDArray[np.int64]:
        generator = np.random.default_rng([self._seed, epoch])
        # What no batch has room for is left out before lengths are looked at: else it were always the longest.
        order = generator.permutation(len(self._examples))[: self.batches_per_epoch * self._batch]
        pool = self._batch * _POOL_BATCHES
        pools = [order[start : start + pool] for start in range(0, len(order), pool)]
        in_order = np.concatenate([each[np.argsort(self._lengths[each], kind="stable")] for each in pools])
        return generator.permutation(in_order.reshape(-1, self._batch))


def collate(examples: Sequence[Example], pad_id: int, step: int = 0) -> ExampleBatch:
    """Pad examples on the right to the longest of them."""
    width = max(len(example.input_ids) for example in examples)
    ids = torch.full((len(examples), width), pad_id, dtype=torch.int64)
    mask = torch.zeros((len(examples), width), dtype=torch.bool)
    for row, example in enumerate(examples):
        ids[row, : len(example.input_ids)] = torch.tensor(example.input_ids)
        mask[row, : len(example.input_ids)] = True
    return ExampleBatch(ids, mask, torch.tensor([example.targets for example in examples]), step)


class ExampleStream(IterableDataset[ExampleBatch]):
    """Endless batches for Lightning, beginning at the step that `first_step` names when iteration begins."""

    def __init__(self, sampler: ExampleSampler, first_step: Callable[[], int]) -> None:
        """Stream the batches of `sampler`."""
        self._sampler, self._first_step = sampler, first_step

    def __iter__(self) -> Iterator[ExampleBatch]:
        step = self._first_step()
        while True:
            yield self._sampler.batch(step)
            step += 1


def example_loader(sampler: ExampleSampler, first_step: Callable[[], int]) -> DataLoader[ExampleBatch]:
    """Wrap the stream in a DataLoader without workers."""
    return DataLoader(ExampleStream(sampler, first_step), batch_size=None, num_workers=0)
