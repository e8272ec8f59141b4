"""Parquet tables: what is written is read back, in the same bytes each time; no flipped bit is missed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks import tables
from tasks.errors import ArtifactError

SCHEMA = pa.schema([("id", pa.string()), ("text", pa.string()), ("n", pa.int64()), ("x", pa.float64())])


def rows(count: int) -> list[dict[str, Any]]:
    chance = random.Random(count)
    words = ["tree", "wörd", "漢字", "a\nb", "", "🌳"]
    return [
        {"id": f"d{i}", "text": " ".join(chance.choices(words, k=8)), "n": i, "x": chance.random()}
        for i in range(count)
    ]


@pytest.mark.parametrize("count", [0, 1, 1999, 2000, 2001, 4100])
def test_rows_come_back_as_they_went_in(tmp_path: Path, count: int) -> None:
    path = tmp_path / "deep" / "t.parquet"
    written = rows(count)
    assert tables.write(path, iter(written), SCHEMA) == count
    assert list(tables.iterate(path)) == written
    assert tables.read_arrow(path).to_pylist() == written
    assert tables.read_arrow(path).schema == SCHEMA
    assert tables.read_arrow(path, ["n"]).column_names == ["n"]
    assert list(tables.iterate(path, ["n"])) == [{"n": row["n"]} for row in written]


TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(TEXT, st.none() | TEXT, st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False)),
        max_size=5,
    )
)
def test_any_value_comes_back(values: list[tuple[Any, ...]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.parquet"
        written = [dict(zip(SCHEMA.names, value, strict=True)) for value in values]
        tables.write(path, written, SCHEMA)
        assert list(tables.iterate(path)) == written


def test_equal_rows_give_equal_bytes_however_they_arrive(tmp_path: Path) -> None:
    one, two = tmp_path / "one.parquet", tmp_path / "two.parquet"
    written = rows(4500)

    def dribble() -> Iterator[dict[str, Any]]:
        yield from (dict(reversed(row.items())) for row in written)

    tables.write(one, written, SCHEMA)
    tables.write(two, dribble(), SCHEMA)
    assert one.read_bytes() == two.read_bytes()


def test_rows_are_written_as_they_come_in_groups_of_a_known_size(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    path = tmp_path / "t.parquet"
    tables.write(path, rows(4100), SCHEMA)
    metadata = pq.ParquetFile(path).metadata
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [2000, 2000, 100]


@pytest.mark.parametrize("row", [{"id": "a"}, {"id": "a", "text": "", "n": 1, "x": 1.0, "y": 2}, {}])
def test_a_row_with_other_keys_is_refused(tmp_path: Path, row: dict[str, Any]) -> None:
    with pytest.raises(KeyError, match="row keys"):
        tables.write(tmp_path / "t.parquet", [row], SCHEMA)


@pytest.mark.parametrize("change", [{"n": "one"}, {"n": 1.5}, {"text": 3}, {"n": 2**63}])
def test_a_value_of_another_type_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises((pa.ArrowException, TypeError, OverflowError)):
        tables.write(tmp_path / "t.parquet", [{"id": "a", "text": "", "n": 1, "x": 1.0} | change], SCHEMA)


def test_no_flipped_bit_is_read_as_wrong_data(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    written = rows(300)
    tables.write(path, written, SCHEMA)
    good, chance = path.read_bytes(), random.Random(5)
    noticed = 0
    for trial in range(200):
        position, bit = chance.randrange(len(good)), 1 << chance.randrange(8)
        path.write_bytes(good[:position] + bytes([good[position] ^ bit]) + good[position + 1 :])
        read = tables.read_arrow if trial % 2 else tables.iterate
        try:
            found = read(path)
            assert (found.to_pylist() if isinstance(found, pa.Table) else list(found)) == written, (
                position,
                bit,
            )
        except ArtifactError as error:
            noticed += 1
            assert str(path) in str(error)
            assert len(str(error).splitlines()) == 1
    assert noticed > 150


@pytest.mark.parametrize("content", [None, b"", b"PAR1", b"no table at all" * 100])
def test_a_table_that_is_none_is_an_error_that_names_it(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "t.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"t\.parquet: cannot be read as a table"):
        tables.read_arrow(path)
    with pytest.raises(ArtifactError, match=r"t\.parquet: cannot be read as a table"):
        list(tables.iterate(path))


def test_a_truncated_table_and_a_missing_column_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    tables.write(path, rows(50), SCHEMA)
    for size in (path.stat().st_size - 1, path.stat().st_size // 2, 10):
        with path.open("r+b") as handle:
            handle.truncate(size)
        with pytest.raises(ArtifactError):
            tables.read_arrow(path)


def test_a_table_opens_as_a_dataset(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    written = rows(30)
    tables.write(path, written, SCHEMA)
    found = tables.dataset(path)
    assert [found[i] for i in range(len(found))] == written
