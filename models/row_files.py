"""Tensors that are cut by rows over several files, as ranks hold them when none has room for the whole.

`rows-00000-of-00002.safetensors` holds the rows of rank 0; its header tells for each tensor at which row of which
shape they begin. A reader takes any rows of any tensor from however many files: what two ranks wrote, one or four can
read. torch's own distributed checkpoints do the same, but keep their index as a pickle, which runs code when read.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

PATTERN = "rows-*.safetensors"
MARK = "rows of"
"""The key of the dictionary that stands in a tree for a tensor whose rows are elsewhere."""


class RowFilesError(ValueError):
    """Files of rows that are malformed or do not make up whole tensors."""


class Part(NamedTuple):
    """Some rows of a tensor: those that begin at `start` of a tensor of `shape`."""

    rows: Tensor
    start: int
    shape: tuple[int, ...]


def write_rows(folder: Path, parts: Mapping[str, Part], rank: int, ranks: int) -> Path:
    """Write what one rank holds; returns the file."""
    path = folder / f"rows-{rank:05d}-of-{ranks:05d}.safetensors"
    places = {name: [part.start, list(part.shape)] for name, part in parts.items()}
    tensors = {name: part.rows.detach().cpu().contiguous() for name, part in parts.items()}
    save_file(tensors, path, metadata={"format": "pt", "places": json.dumps(places)})
    return path


class RowFiles:
    """Reads the files of rows in a folder; a tensor's bytes are touched when its rows are asked for."""

    def __init__(self, folder: Path) -> None:
        """Open every file of rows in `folder`; there may be none.

        Raises:
            RowFilesError: one of them is malformed.
        """
        self._folder = folder
        self._places: dict[str, list[tuple[int, int, Any]]] = defaultdict(list)
        self._shapes: dict[str, tuple[int, ...]] = {}
        for path in sorted(folder.glob(PATTERN)):
            try:
                self._open(path)
            except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise RowFilesError(f"{path}: not a file of rows ({error})") from error

    @property
    def names(self) -> list[str]:
        """The tensors there are."""
        return sorted(self._shapes)

    def rows(self, name: str, start: int, end: int) -> Tensor:
        """Rows `start` to `end` (excluded) of a tensor, put together from the files that have them.

        Raises:
            RowFilesError: some of them are in no file, or in two.
        """
        found, place = [], start
        for first, last, file in self._places.get(name, []):
            low, high = max(first, start), min(last, end)
            if low < high and low == place:
                found.append(file.get_slice(name)[low - first : high - first])
                place = high
        if place != end or name not in self._shapes:
            raise RowFilesError(f"{self._folder}: rows {place} to {end} of {name} are in no file")
        return torch.cat(found) if found else torch.empty(0, *self._shapes[name][1:])

    def whole(self, name: str) -> Tensor:
        """All rows of a tensor."""
        return self.rows(name, 0, self._shapes[name][0] if name in self._shapes else 1)

    def _open(self, path: Path) -> None:
        file: Any = safe_open(path, framework="pt")
        places = json.loads(file.metadata()["places"])
        for name in file.keys():  # noqa: SIM118 - not a dictionary
            start, shape = int(places[name][0]), tuple(int(size) for size in places[name][1])
            rows = file.get_slice(name).get_shape()
            if self._shapes.setdefault(name, shape) != shape or tuple(rows[1:]) != shape[1:]:
                raise ValueError(f"{name} has another shape than elsewhere")
            self._places[name].append((start, start + rows[0], file))
            self._places[name].sort(key=lambda place: place[:2])


def cut(tree: Any, cut_leaf: Callable[[str, Any], bool], name: str = "") -> Any:
    """Copy nested dictionaries and lists; each leaf that `cut_leaf(name, leaf)` takes leaves a mark with its name."""
    if isinstance(tree, dict):
        return {key: cut(value, cut_leaf, f"{name}/{key}".lstrip("/")) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(
            cut(value, cut_leaf, f"{name}/{place}".lstrip("/")) for place, value in enumerate(tree)
        )
    return {MARK: name} if cut_leaf(name, tree) else tree


def join(tree: Any, tensor: Callable[[str], Tensor]) -> Any:
    """Copy nested dictionaries and lists with `tensor(name)` in place of every mark."""
    if isinstance(tree, dict):
        if tree.keys() == {MARK}:
            return tensor(str(tree[MARK]))
        return {key: join(value, tensor) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(join(value, tensor) for value in tree)
    return tree
