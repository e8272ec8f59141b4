"""Compressed files: the same records as plain ones, in bounded memory, and nothing lost in silence."""

from __future__ import annotations

import bz2
import gzip
import lzma
import resource
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_of_reading import memory_of_reading

from tasks.errors import SourceError
from tasks.sources import compression, files
from tasks.sources.config import FilesSource, IngestionConfig
from tasks.sources.ingest import ingest
from tasks.sources.outcomes import Bad, Kept, Outcome

LIMIT = 1 << 20


def zstandard(data: bytes) -> bytes:
    buffer = pa.BufferOutputStream()
    with pa.CompressedOutputStream(buffer, "zstd") as stream:
        stream.write(data)
    return bytes(buffer.getvalue())


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstandard,
}
EVERY = pytest.mark.parametrize("suffix", COMPRESSORS)


def describe(path: Path, **options: object) -> FilesSource:
    return FilesSource.model_validate({"path": str(path), "domain": "web", "licence": "CC0-1.0", **options})


def read(path: Path) -> list[Outcome]:
    source = describe(path)
    return list(files.read(source, files.interpreter(source, LIMIT), LIMIT))


@EVERY
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", b"one text"),
        ("a.md", b"\xef\xbb\xbfwith a mark"),
        ("a.html", b"<p>page</p>"),
        ("a.jsonl", b'{"text": "one"}\n\n{"text": 2}\n{"text": "last"}'),
        ("a.jsonl", b'\xef\xbb\xbf{"text": "one"}\n'),
        ("a.csv", b'text,n\r\n"one\ntwo",1\r\nbad\r\n'),
        ("a.tsv", b"text\tn\none\t1\n"),
        ("a.txt", b""),
        ("a.jsonl", b"x"),
    ],
)
def test_a_compressed_file_has_the_records_of_the_plain_one(
    tmp_path: Path, suffix: str, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    (tmp_path / f"{name}.{suffix}").write_bytes(COMPRESSORS[suffix](content))

    def told(path: Path) -> list[tuple[str, object]]:
        return [_told(outcome, suffix) for outcome in read(path)]

    assert told(tmp_path / f"{name}.{suffix}") == told(tmp_path / name)


def _told(outcome: Outcome, suffix: str) -> tuple[str, object]:
    assert isinstance(outcome, Kept | Bad)
    return outcome.uri.replace(f".{suffix}", ""), outcome.values if isinstance(
        outcome, Kept
    ) else outcome.rule


@settings(max_examples=60, deadline=None)
@given(content=st.lists(st.sampled_from([b"\n", b"\r", b"a", b"bc", b"\xef\xbb\xbf", b"\xff"]), max_size=12))
def test_lines_do_not_depend_on_the_compression(
    tmp_path_factory: pytest.TempPathFactory, content: list[bytes]
) -> None:
    folder = tmp_path_factory.mktemp("lines")
    data = b"".join(content)
    (folder / "a.jsonl").write_bytes(data)
    (folder / "b.jsonl.gz").write_bytes(gzip.compress(data))
    plain, packed = (
        [(o.rule, o.reason) for o in read(folder / n) if isinstance(o, Bad)]
        for n in ("a.jsonl", "b.jsonl.gz")
    )
    assert plain == packed
    if data.strip() and not data.startswith(b"\xef\xbb\xbf"):
        lines = [line for line in data.split(b"\n") if line.strip()]
        assert len(plain) == len(lines)


@EVERY
def test_members_one_after_the_other_are_one_file(tmp_path: Path, suffix: str) -> None:
    pack = COMPRESSORS[suffix]
    (tmp_path / f"a.jsonl.{suffix}").write_bytes(pack(b'{"text": "one"}\n') + pack(b'{"text": "two"}\n'))
    assert [
        kept.values["text"] for kept in read(tmp_path / f"a.jsonl.{suffix}") if isinstance(kept, Kept)
    ] == ["one", "two"]


@EVERY
@pytest.mark.parametrize("damage", ["cut", "plain"])
def test_a_damaged_file_keeps_what_comes_before_and_names_the_place(
    tmp_path: Path, suffix: str, damage: str
) -> None:
    lines = b"".join(
        b'{"text": "%d %s"}\n' % (n, bytes(str(hash((n, 7)) % 10**9), "ascii") * 9) for n in range(9_000)
    )
    packed = bytearray(COMPRESSORS[suffix](lines))
    if damage == "cut":
        del packed[-20:]
    else:
        packed = bytearray(lines)
    path = tmp_path / f"a.jsonl.{suffix}"
    path.write_bytes(packed)
    outcomes = read(path)
    last = outcomes[-1]
    assert isinstance(last, Bad) and last.rule == "damaged"
    assert last.where == f"file:{tmp_path.name}/a.jsonl.{suffix}" and "at byte" in last.reason
    assert all(isinstance(outcome, Kept) for outcome in outcomes[:-1])
    kept = b"".join(b'{"text": "%s"}\n' % o.values["text"].encode() for o in outcomes if isinstance(o, Kept))
    assert lines.startswith(kept)
    assert path.read_bytes() == bytes(packed)


@pytest.mark.parametrize(
    "suffix", ["gz", "bz2", "xz"]
)  # Arrow writes Zstandard without its optional checksum
def test_a_flipped_bit_is_noticed(tmp_path: Path, suffix: str) -> None:
    packed = bytearray(COMPRESSORS[suffix](b"".join(b'{"text": "%d"}\n' % n**9 for n in range(9_000))))
    packed[len(packed) // 2] ^= 0x10
    (tmp_path / f"a.jsonl.{suffix}").write_bytes(packed)
    last = read(tmp_path / f"a.jsonl.{suffix}")[-1]
    assert isinstance(last, Bad) and last.rule == "damaged"


def test_a_damaged_file_stops_the_stage_unless_the_policy_allows(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "a.txt.gz").write_bytes(gzip.compress(b"whole " * 9))
    (corpus / "b.txt.gz").write_bytes(gzip.compress(b"broken " * 9)[:-9])
    plain = {"sources": [describe(corpus / "*.gz")], "max_bad_ratio": 0.5}
    (tmp_path / "out").mkdir()
    with pytest.raises(
        SourceError, match=r"b\.txt\.gz: the file cannot be decompressed .*damaged_files to quarantine"
    ):
        ingest({}, IngestionConfig.model_validate(plain), tmp_path / "out")
    (tmp_path / "again").mkdir()
    summary = ingest(
        {}, IngestionConfig.model_validate(plain | {"damaged_files": "quarantine"}), tmp_path / "again"
    )
    assert (summary.documents, summary.quarantined) == (1, 1)


def test_a_compressed_parquet_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet.gz").write_bytes(gzip.compress(b"PAR1"))
    assert [bad.rule for bad in read(tmp_path / "a.parquet.gz") if isinstance(bad, Bad)] == ["format"]


@pytest.mark.parametrize(
    "name", ["a.jsonl.gz", "a.txt.gz", "a.csv.gz", "a.jsonl.zst", "a.jsonl.bz2", "a.jsonl.xz", "a.jsonl"]
)
def test_a_line_of_600_megabytes_never_takes_a_gigabyte(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write_long_line(path, 600 << 20)
    peak, growth, rules = memory_of_reading(path)
    assert peak < 1_000 and growth < 200
    assert rules in (["decompression-bomb"], ["too-large"], ["too-large", "decompression-bomb"])


def write_long_line(path: Path, size: int) -> None:
    """One line of so many bytes, compressed on the way as the suffix says."""
    block = b"a" * (1 << 20)
    openers: dict[str, Callable[[], object]] = {  # each is closed by the `with` below
        ".gz": lambda: gzip.open(path, "wb", 1),  # noqa: SIM115
        ".bz2": lambda: bz2.open(path, "wb", 1),  # noqa: SIM115
        ".xz": lambda: lzma.open(path, "wb", preset=0),  # noqa: SIM115
        ".zst": lambda: pa.CompressedOutputStream(str(path), "zstd"),
        ".jsonl": lambda: path.open("wb"),
    }
    with openers[path.suffix]() as stream:  # type: ignore[attr-defined]
        for _ in range(size >> 20):
            stream.write(block)


def test_text_that_compresses_well_is_no_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "UNSUSPECTED_BYTES", 1 << 14)
    line = b'{"text": "%d the same words again and again"}\n'
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b"".join(line % n for n in range(20_000))))
    assert sum(isinstance(outcome, Kept) for outcome in read(tmp_path / "a.jsonl.gz")) == 20_000


def test_what_is_read_is_closed(tmp_path: Path) -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"text"))
    with compression.opened(tmp_path / "a.txt.gz") as stream:
        file = stream.raw._file  # type: ignore[attr-defined]
        assert stream.read() == b"text"
    assert file.closed and resource.getrlimit(resource.RLIMIT_NOFILE) == limit


@EVERY
@pytest.mark.parametrize("name", ["a.jsonl", "a.txt", "a.csv", "a.jsonl.gz"])
def test_a_name_that_hides_the_compression_is_told(tmp_path: Path, suffix: str, name: str) -> None:
    packed = COMPRESSORS[suffix](b'{"text": "one"}\n')
    (tmp_path / name).write_bytes(gzip.compress(packed) if name.endswith(".gz") else packed)
    (bad,) = read(tmp_path / name)
    assert isinstance(bad, Bad) and bad.rule == "damaged" and "which its name does not say" in bad.reason


@pytest.mark.parametrize("suffix", ["bz2", "xz"])
def test_what_follows_a_stream_and_is_none_is_told(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"a.jsonl.{suffix}").write_bytes(COMPRESSORS[suffix](b'{"text": "one"}\n') + b"no stream")
    kept, bad = read(tmp_path / f"a.jsonl.{suffix}")
    assert isinstance(kept, Kept) and isinstance(bad, Bad) and bad.rule == "damaged"
