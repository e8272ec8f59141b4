"""Windows and the documents they hold agree with what training reads, token by token."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.loader import WindowSampler
from models.seen import documents_of, pieces_of
from models.shards import TokenShard
from tests.models.tiny_training import write_split

DOCUMENTS = [[5, 6, 7], [8], [], [9, 10, 11, 12, 13], [14, 15]]  # with separators: 4, 2, 1, 6, 3 tokens


@pytest.fixture
def shard(tmp_path: Path) -> TokenShard:
    write_split(tmp_path, "train", DOCUMENTS)
    return TokenShard(tmp_path, "train")


def test_documents_stand_in_reading_order_and_go_round_the_end(shard: TokenShard) -> None:
    windows = np.array([0, 4, 14], dtype=np.int64)
    assert documents_of(shard, windows, 3) == [
        ["train-0"],
        ["train-1", "train-2", "train-3"],
        ["train-4", "train-0"],
    ]
    assert documents_of(shard, windows[:1], 4) == [["train-0", "train-1"]]  # the last target counts
    assert documents_of(shard, np.array([1], dtype=np.int64), len(shard)) == [
        ["train-0", "train-1", "train-2", "train-3", "train-4"]  # comes back to the first, told once
    ]


def test_pieces_are_the_very_tokens_of_every_batch(shard: TokenShard) -> None:
    sampler = WindowSampler(shard, context_length=4, batch_size=2, seed=3)
    table = shard.documents
    for step in range(6):
        for window, ids in zip(sampler.windows_of(step), sampler.batch(step), strict=True):
            pieces = list(pieces_of(shard, int(window), 4))
            assert [piece.first for piece in pieces] == list(np.cumsum([0, *(p.tokens for p in pieces)])[:-1])
            read = [int(t) for p in pieces for t in shard.tokens[p.start : p.start + p.tokens]]
            assert read == ids.tolist()
            for piece in pieces:
                assert table.starts[piece.document] <= piece.start
                assert piece.start + piece.tokens <= table.ends[piece.document]
