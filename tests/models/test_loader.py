"""Shards are refused when damaged; windows cover every token once per epoch and depend on (seed, step)
alone."""

from __future__ import annotations

import random
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.loader import WindowSampler, training_loader
from models.shards import ShardError, TokenShard
from tests.models.tiny_training import write_split


def counting_shard(folder: Path, tokens: int) -> TokenShard:
    """A shard whose id at offset i is i, so that ids tell where they were read."""
    write_split(folder, "train", [list(range(1, tokens))], vocab_size=tokens)
    return TokenShard(folder, "train")


def sampler(shard: TokenShard, **changes: int) -> WindowSampler:
    return WindowSampler(shard, **({"context_length": 8, "batch_size": 4, "seed": 3} | changes))


@settings(max_examples=40, deadline=None)
@given(
    tokens=st.integers(20, 200), context=st.integers(2, 19), batch=st.integers(1, 9), seed=st.integers(0, 99)
)
def test_every_token_is_a_target_once_per_epoch(
    tmp_path_factory: pytest.TempPathFactory, tokens: int, context: int, batch: int, seed: int
) -> None:
    shard = counting_shard(tmp_path_factory.mktemp("shard"), tokens)
    windows = WindowSampler(shard, context_length=context, batch_size=batch, seed=seed)
    epoch = windows.windows_per_epoch
    assert epoch == tokens // context
    rows = np.concatenate([windows.batch(step) for step in range(2 * epoch // batch + 1)])
    for first in (0, epoch):
        targets = rows[first : first + epoch, 1:]
        assert len(np.unique(targets)) == targets.size == epoch * context
    assert ((np.diff(rows, axis=1) == 1) | (np.diff(rows, axis=1) == 1 - tokens)).all()


def test_epochs_differ_in_order_and_phase_and_seeds_differ(tmp_path: Path) -> None:
    windows = sampler(counting_shard(tmp_path, 160), batch_size=20)
    first, second = windows.windows_of(0), windows.windows_of(1)
    assert len(set(first % 8)) == len(set(second % 8)) == 1
    assert not np.array_equal(first, second)
    phases = {int(windows.windows_of(step)[0] % 8) for step in range(10)}
    assert len(phases) > 3
    assert not np.array_equal(
        first, sampler(counting_shard(tmp_path, 160), batch_size=20, seed=4).windows_of(0)
    )


def test_any_step_can_be_asked_for_alone(tmp_path: Path) -> None:
    shard = counting_shard(tmp_path, 100)
    walked = sampler(shard)
    batches = [walked.batch(step) for step in range(40)]
    for step in (39, 0, 17):
        assert np.array_equal(sampler(shard).batch(step), batches[step])
        assert np.array_equal(walked.batch(step), batches[step])
        assert np.array_equal(batches[step][:, 0], walked.windows_of(step))


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_rank_slices_partition_the_batch(tmp_path: Path, ranks: int) -> None:
    shard = counting_shard(tmp_path, 100)
    for step in (0, 5):
        parts = [sampler(shard, rank=rank, ranks=ranks).batch(step) for rank in range(ranks)]
        assert np.array_equal(np.concatenate(parts), sampler(shard).batch(step))


def test_the_loader_begins_where_training_stands(tmp_path: Path) -> None:
    windows = sampler(counting_shard(tmp_path, 100))
    stream = iter(training_loader(windows, lambda: 7))
    for step in (7, 8):
        batch = next(stream)
        assert batch.step == step
        assert np.array_equal(batch.tokens.numpy(), windows.batch(step))


def test_the_cache_stays_small(tmp_path: Path) -> None:
    windows = sampler(counting_shard(tmp_path, 40), batch_size=50)
    windows.windows_of(3)
    assert len(windows._epochs) <= 2


def test_too_short_a_shard_and_uneven_ranks_are_refused(tmp_path: Path) -> None:
    shard = counting_shard(tmp_path, 20)
    with pytest.raises(ShardError, match=r"20 tokens are too few for one window of 21"):
        sampler(shard, context_length=20)
    with pytest.raises(ValueError, match=r"batch_size \(4\) must be a multiple of the number of ranks \(3\)"):
        sampler(shard, ranks=3)


def test_a_truncated_shard_is_refused(tmp_path: Path) -> None:
    counting_shard(tmp_path, 50)
    file = tmp_path / "train.bin"
    file.write_bytes(file.read_bytes()[:-2])
    with pytest.raises(ShardError, match=r"train\.bin: 98 bytes where the index promises 100"):
        TokenShard(tmp_path, "train")


@pytest.mark.parametrize("name", ["train.bin", "index.json", "train.documents.parquet"])
def test_a_missing_file_is_named(name: str, tmp_path: Path) -> None:
    counting_shard(tmp_path, 50)
    (tmp_path / name).unlink()
    with pytest.raises(ShardError, match=re.escape(str(tmp_path / name))):
        _ = TokenShard(tmp_path, "train").documents


def test_an_id_beyond_the_vocabulary_is_named(tmp_path: Path) -> None:
    write_split(tmp_path, "train", [[5, 6, 7, 50, 8]], vocab_size=50)
    with pytest.raises(ShardError, match=r"id 50 at offset 4 is not below vocab_size 50"):
        TokenShard(tmp_path, "train")


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"splits": {}}', '{"splits": 3}'])
def test_a_damaged_index_is_refused(tmp_path: Path, damage: str) -> None:
    counting_shard(tmp_path, 50)
    (tmp_path / "index.json").write_text(damage)
    with pytest.raises(ShardError, match=r"index\.json"):
        TokenShard(tmp_path, "train")


def test_the_document_table_is_read_and_checked(tmp_path: Path) -> None:
    write_split(tmp_path, "train", [[5, 6], [7]])
    table = TokenShard(tmp_path, "train").documents
    assert table.ids == ("train-0", "train-1")
    assert table.starts.tolist() == [0, 3]
    assert table.ends.tolist() == [3, 5]
    assert table.bytes.tolist() == [6, 3]
    damaged = bytearray((tmp_path / "train.documents.parquet").read_bytes())
    damaged[: len(damaged) // 2] = b"x" * (len(damaged) // 2)
    (tmp_path / "train.documents.parquet").write_bytes(damaged)
    with pytest.raises(ShardError, match=r"train\.documents\.parquet"):
        _ = TokenShard(tmp_path, "train").documents


def test_a_table_that_points_outside_the_file_is_refused(tmp_path: Path) -> None:
    write_split(tmp_path, "train", [[5, 6], [7, 8, 9]])
    path = tmp_path / "train.documents.parquet"
    table = pq.read_table(path)
    ends = table["end"].to_numpy() + np.array([0, 1])
    pq.write_table(table.set_column(2, "end", pa.array(ends)), path, write_page_checksum=True)
    with pytest.raises(ShardError, match=r"row 1 points outside train\.bin"):
        _ = TokenShard(tmp_path, "train").documents


def test_the_table_of_another_run_is_refused(tmp_path: Path) -> None:
    write_split(tmp_path, "train", [[5, 6], [7, 8, 9]])
    table = (tmp_path / "train.documents.parquet").read_bytes()
    write_split(tmp_path, "train", [[5, 6, 7]])
    (tmp_path / "train.documents.parquet").write_bytes(table)
    with pytest.raises(
        ShardError, match=r"train\.documents\.parquet: not the documents that index\.json counts"
    ):
        _ = TokenShard(tmp_path, "train").documents


def test_the_ids_of_another_run_are_refused(tmp_path: Path) -> None:
    write_split(tmp_path / "one", "train", [[5, 6]])
    write_split(tmp_path / "two", "train", [[5, 7]])
    shutil.copy(tmp_path / "two" / "train.bin", tmp_path / "one" / "train.bin")
    with pytest.raises(ShardError, match=r"train\.bin: altered"):
        TokenShard(tmp_path / "one", "train")


def opened(folder: Path) -> tuple[object, ...]:
    """All that a shard tells whoever opens it."""
    shard = TokenShard(folder, "train")
    table = shard.documents
    numbers = [part.tolist() for part in (shard.tokens, table.starts, table.ends, table.bytes)]
    return shard.vocab_size, shard.bytes, len(shard), table.ids, *numbers


@pytest.mark.parametrize("name", ["train.bin", "train.documents.parquet", "index.json"])
def test_no_flipped_bit_is_learnt_from(name: str, tmp_path: Path) -> None:
    """200 flips in each file, read without the store: an error that names the folder's file, or the same shard.

    The vocabulary has room for every id, so that its check alone would find nothing.
    """
    chance = random.Random(28)
    documents = [[chance.randrange(1 << 16) for _ in range(30)] for _ in range(30)]
    write_split(tmp_path, "train", documents, vocab_size=1 << 16)
    sound, good, noticed = opened(tmp_path), (tmp_path / name).read_bytes(), 0
    for _ in range(200):
        position, bit = chance.randrange(len(good)), 1 << chance.randrange(8)
        damaged = good[:position] + bytes([good[position] ^ bit]) + good[position + 1 :]
        (tmp_path / name).write_bytes(damaged)
        try:
            assert opened(tmp_path) == sound, (position, bit)
        except ShardError as error:
            noticed += 1
            assert str(tmp_path) in str(error) and "\n" not in str(error)
    assert noticed >= {"train.bin": 200, "index.json": 150}.get(name, 100)
