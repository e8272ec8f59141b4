"""The documents of a window are those whose tokens it holds, no more and no fewer."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from models.loader import WindowSampler
from models.seen import documents_of
from models.shards import TokenShard
from tests.models.tiny_training import CONTEXT, write_shards


def test_documents_of_windows_are_those_of_their_tokens(tmp_path: Path) -> None:
    shard = TokenShard(write_shards(tmp_path), "train")
    table = shard.documents
    owner = np.empty(len(shard), dtype=object)
    for name, start, end in zip(table.ids, table.starts, table.ends, strict=True):
        owner[start:end] = name
    sampler = WindowSampler(shard, context_length=CONTEXT, batch_size=8, seed=3)
    windows = np.concatenate([*(sampler.windows_of(step) for step in range(30)), np.arange(len(shard))])
    found = documents_of(shard, windows, CONTEXT)
    for first, names in zip(windows, found, strict=True):
        places = (first + np.arange(CONTEXT + 1)) % len(shard)
        assert names == list(dict.fromkeys(owner[places]))
    assert found[-1] == [table.ids[-1], table.ids[0]]  # the last token, then the beginning


def test_a_window_longer_than_all_documents_names_each_once(tmp_path: Path) -> None:
    shard = TokenShard(write_shards(tmp_path, documents=3), "train")
    ((*names,),) = documents_of(shard, np.array([len(shard) - 2]), len(shard) - 1)
    assert sorted(names) == sorted(shard.documents.ids)
    assert names[0] == shard.documents.ids[-1]
