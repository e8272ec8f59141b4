"""Tensors cut by rows over files: any rows of any of them, from however many files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.row_files import MARK, Part, RowFiles, RowFilesError, cut, join, write_rows

TALL = torch.arange(35, dtype=torch.float32).reshape(7, 5)
SHORT = torch.tensor([3.0, 4.0])


def written(folder: Path, ranks: int) -> RowFiles:
    for rank in range(ranks):
        parts = {}
        for name, tensor in {"tall": TALL, "short": SHORT}.items():
            chunk = -(-len(tensor) // ranks)
            start = min(rank * chunk, len(tensor))
            parts[name] = Part(tensor[start : start + chunk], start, tuple(tensor.shape))
        write_rows(folder, parts, rank, ranks)
    return RowFiles(folder)


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
def test_any_rows_can_be_read_whoever_wrote_them(tmp_path: Path, ranks: int) -> None:
    files = written(tmp_path, ranks)
    assert files.names == ["short", "tall"]
    assert torch.equal(files.whole("tall"), TALL) and torch.equal(files.whole("short"), SHORT)
    for start in range(8):
        for end in range(start, 8):
            assert torch.equal(files.rows("tall", start, end), TALL[start:end])


def test_missing_rows_and_files_that_are_none_are_refused(tmp_path: Path) -> None:
    written(tmp_path, 2)
    (tmp_path / "rows-00001-of-00002.safetensors").unlink()
    files = RowFiles(tmp_path)
    assert torch.equal(files.rows("tall", 1, 3), TALL[1:3])
    with pytest.raises(RowFilesError, match="rows 4 to 7 of tall are in no file"):
        files.whole("tall")
    with pytest.raises(RowFilesError, match="of wide are in no file"):
        files.whole("wide")
    (tmp_path / "rows-00001-of-00002.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    with pytest.raises(RowFilesError, match="rows-00001-of-00002"):
        RowFiles(tmp_path)


def test_a_tree_is_cut_and_joined_again() -> None:
    tree = {"a": [SHORT, {3: TALL}], "b": ("word", 7)}
    taken: dict[str, torch.Tensor] = {}

    def take(name: str, leaf: object) -> bool:
        if isinstance(leaf, torch.Tensor):
            taken[name] = leaf
        return isinstance(leaf, torch.Tensor)

    rest = cut(tree, take)
    assert rest == {"a": [{MARK: "a/0"}, {3: {MARK: "a/1/3"}}], "b": ("word", 7)}
    again = join(rest, taken.__getitem__)
    assert (
        torch.equal(again["a"][1][3], TALL) and torch.equal(again["a"][0], SHORT) and again["b"] == tree["b"]
    )
