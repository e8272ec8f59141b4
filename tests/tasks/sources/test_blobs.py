"""Local files and remote objects under one roof: found, hashed and watched."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from archives_of_ours import zip_of
from pydantic import ValidationError

from tasks.errors import SourceError
from tasks.sources import files
from tasks.sources.config import FilesSource
from tasks.sources.outcomes import Kept

LIMIT = 1 << 16
ROOT = "memory://test-blobs"


@pytest.fixture
def store() -> Iterator[object]:
    import fsspec  # type: ignore[import-untyped]

    filesystem = fsspec.filesystem("memory")
    yield filesystem
    filesystem.rm("/test-blobs", recursive=True)


def source(path: str) -> FilesSource:
    return FilesSource(path=path, domain="web", licence="MIT")


def kept(path: str) -> list[tuple[str, str]]:
    found = source(path)
    outcomes = list(files.read(found, files.interpreter(found, LIMIT), LIMIT))
    assert all(isinstance(outcome, Kept) for outcome in outcomes), outcomes
    return [(o.uri, o.values["text"]) for o in outcomes if isinstance(o, Kept)]


def test_remote_files_are_read_like_local_ones(store, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    rows = "".join(json.dumps({"text": text}) + "\n" for text in ("one", "two")).encode()
    store.pipe("/test-blobs/b.jsonl.gz", gzip.compress(rows))
    store.pipe("/test-blobs/deep/a.txt", b"three")
    store.pipe("/test-blobs/deep/c.zip", zip_of(tmp_path / "c.zip", [("x/d.txt", b"four")]).read_bytes())
    assert kept(f"{ROOT}/**/*.*") == [
        ("memory:///test-blobs/b.jsonl.gz#L1", "one"),
        ("memory:///test-blobs/b.jsonl.gz#L2", "two"),
        ("memory:///test-blobs/deep/a.txt", "three"),
        ("memory:///test-blobs/deep/c.zip!x/d.txt", "four"),
    ]
    assert source(f"{ROOT}/**/*.txt").title == "test-blobs/txt"


def test_parquet_is_read_from_afar(store) -> None:  # type: ignore[no-untyped-def]
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    table = io.BytesIO()
    pq.write_table(pa.table({"text": ["one", "two"]}), table)
    store.pipe("/test-blobs/a.parquet", table.getvalue())
    assert [text for _, text in kept(f"{ROOT}/a.parquet")] == ["one", "two"]


def test_a_remote_file_that_changes_while_it_is_read_is_an_error(store) -> None:  # type: ignore[no-untyped-def]
    store.pipe("/test-blobs/a.jsonl", b'{"text": "one"}\n{"text": "two"}\n')
    found = source(f"{ROOT}/a.jsonl")
    outcomes = files.read(found, files.interpreter(found, LIMIT), LIMIT)
    next(outcomes)
    store.pipe("/test-blobs/a.jsonl", b'{"text": "other"}\n')
    with pytest.raises(SourceError, match="changed while it was being read"):
        list(outcomes)


def test_what_is_not_there_is_one_line(store) -> None:  # type: ignore[no-untyped-def]
    store.pipe("/test-blobs/deep/a.txt", b"three")
    with pytest.raises(SourceError, match="matches no file; check the address"):
        files.find(source(f"{ROOT}/*.csv"))
    with pytest.raises(SourceError, match="is a folder, not a file"):
        files.find(source("memory:///test-blobs/deep"))


@pytest.mark.parametrize(
    ("path", "named"), [("oss://bucket/a.txt", "ossfs"), ("nothing://a/b.txt", "fsspec")]
)
def test_a_protocol_that_is_not_installed_names_the_package(path: str, named: str) -> None:
    with pytest.raises(SourceError, match=named) as caught:
        files.find(source(path))
    assert "is installed" in str(caught.value) and "\n" not in str(caught.value)


def test_digests_are_those_of_the_stored_bytes(store, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    data = gzip.compress(b"text")
    store.pipe("/test-blobs/a.txt.gz", data)
    (tmp_path / "a.txt.gz").write_bytes(data)
    expected = hashlib.sha256(data).hexdigest()
    assert files.digests(source(str(tmp_path / "*.gz"))) == {f"file:{tmp_path.name}/a.txt.gz": expected}
    assert list(files.digests(source(f"{ROOT}/*.gz")).values()) == [expected]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("https://a.example/x.txt", "web address"),
        ("file:///tmp/x.txt", "without file://"),
        ("s3://key:secret@bucket/x.txt", "user name or password"),
    ],
)
def test_addresses_of_another_kind_are_refused(path: str, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        source(path)
