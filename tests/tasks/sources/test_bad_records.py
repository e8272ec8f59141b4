"""Thirty-one bad files through the whole stage: what is kept, what is quarantined, and that nothing is lost."""

from __future__ import annotations

import gzip
import io
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.errors import SourceError
from tasks.sources.config import IngestionConfig
from tasks.sources.ingest import ingest

LIMIT = 1 << 16
GOOD = b'{"text": "good"}\n'
AFTER = b'{"text": "after"}\n'


@dataclass(frozen=True)
class Case:
    """A file, its texts that are kept, and where and by which rule its other records are quarantined."""

    name: str
    content: bytes
    kept: tuple[str, ...] = ()
    bad: tuple[tuple[str, str], ...] = ()


def third(line: bytes, rule: str) -> tuple[bytes, tuple[str, ...], tuple[tuple[str, str], ...]]:
    """A bad line between two good ones and a third."""
    return GOOD + GOOD + line + b"\n" + AFTER, ("good", "good", "after"), ((":3", rule),)


def parquet() -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"text": ["one"] * 100}), buffer)
    return buffer.getvalue()


CASES: dict[str, Case] = {
    "empty file": Case("a.jsonl", b"", (), (("", "empty"),)),
    "blank lines": Case("a.jsonl", b"\n  \n\n", (), (("", "empty"),)),
    "byte order mark only": Case("a.jsonl", b"\xef\xbb\xbf", (), (("", "empty"),)),
    "byte order mark": Case("a.jsonl", b"\xef\xbb\xbf" + GOOD, ("good",)),
    "truncated last line": Case("a.jsonl", GOOD + b'{"text": "cu', ("good",), ((":2", "json"),)),
    "garbage line": Case("a.jsonl", *third(b"\x17garbage", "json")),
    "missing field": Case("a.jsonl", *third(b'{"body": "renamed"}', "missing-field")),
    "null text": Case("a.jsonl", *third(b'{"text": null}', "null-text")),
    "type change": Case("a.jsonl", *third(b'{"text": 7}', "not-text")),
    "nested object": Case("a.jsonl", *third(b'{"text": {"text": "x"}}', "not-text")),
    "duplicate key": Case("a.jsonl", *third(b'{"text": "x", "text": "y"}', "json")),
    "NUL": Case("a.jsonl", *third(b'{"text": "a\\u0000b"}', "nul")),
    "lone surrogate": Case("a.jsonl", *third(b'{"text": "a\\ud83d"}', "lone-surrogate")),
    "invalid UTF-8": Case("a.jsonl", *third(b'{"text": "a\xc3("}', "encoding")),
    "Latin-1": Case("a.jsonl", *third('{"text": "café"}'.encode("latin-1"), "encoding")),
    "UTF-16": Case("a.jsonl", GOOD.decode().encode("utf-16"), (), (("", "encoding"),)),
    "NaN": Case("a.jsonl", *third(b'{"text": "x", "n": NaN}', "json")),
    "big integer": Case("a.jsonl", b'{"text": "x", "n": 99999999999999999999999}\n', ("x",)),
    "JSON array": Case("a.jsonl", *third(b'["text"]', "json")),
    "CRLF": Case("a.jsonl", GOOD.replace(b"\n", b"\r\n") * 2, ("good", "good")),
    "3,000 levels": Case("a.jsonl", *third(b"[" * 3000 + b"]" * 3000, "json")),
    "control characters": Case("a.jsonl", *third(b'{"text": "a\x01\x1bb"}', "json")),
    "HTML as JSON lines": Case("a.jsonl", b"<html>\n<p>502</p>\n", (), ((":1", "json"), (":2", "json"))),
    "ragged CSV": Case("a.csv", b"text,n\none,1\ntwo\nthree,3,3\n", ("one",), ((":3", "csv"), (":4", "csv"))),
    "CSV with an open quote": Case(
        "a.csv", b'text,n\none,1\n"two,2\nthree,3\n', ("one",), ((":3", "csv"), (":4", "csv"))
    ),
    "CSV with a formula": Case("a.csv", b"text\n=cmd|calc\n", ("=cmd|calc",)),
    "text of bad UTF-8": Case("a.txt", b"caf\xe9", (), (("", "encoding"),)),
    "text of rare line breaks": Case("a.txt", "a\rb\x0bc\x85d\u2028e".encode(), ("a\rb\x0bc\x85d\u2028e",)),
    "truncated gzip": Case("a.jsonl.gz", gzip.compress(GOOD)[:-6], ("good",), (("", "damaged"),)),
    "no gzip": Case("a.jsonl.gz", GOOD, (), (("", "damaged"),)),
    "truncated parquet": Case("a.parquet", parquet()[:-20], (), (("", "damaged"),)),
}


def configured(folder: Path, **policy: object) -> IngestionConfig:
    source = {"type": "files", "path": str(folder / "*"), "domain": "web", "licence": "CC0-1.0"}
    return IngestionConfig.model_validate({"sources": [source], "max_document_bytes": LIMIT, **policy})


def test_there_are_thirty_one_cases() -> None:
    assert len(CASES) == 31


@pytest.mark.parametrize("name", CASES)
def test_every_record_is_kept_or_quarantined_and_counted(tmp_path: Path, name: str) -> None:
    case, folder = CASES[name], tmp_path / "corpus"
    folder.mkdir()
    (folder / case.name).write_bytes(case.content)
    (folder / "other.txt").write_bytes(b"another file")
    (tmp_path / "out").mkdir()
    summary = ingest({}, configured(folder, max_bad_ratio=1, damaged_files="quarantine"), tmp_path / "out")
    texts = pq.read_table(tmp_path / "out" / "documents.parquet")["text"].to_pylist()
    assert texts == [*case.kept, "another file"]
    quarantined = pq.read_table(tmp_path / "out" / "quarantine.parquet").to_pylist()
    assert [row["rule"] for row in quarantined] == [rule for _, rule in case.bad]
    (counts,) = summary.sources.values()
    assert (counts.kept, counts.quarantined, counts.left_out) == (len(case.kept) + 1, len(case.bad), 0)
    assert (folder / case.name).read_bytes() == case.content


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.bad])
def test_the_default_stops_and_names_file_and_line(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / case.name).write_bytes(case.content)
    (tmp_path / "corpus" / "other.txt").write_bytes(b"another file")
    (tmp_path / "out").mkdir()
    with pytest.raises(SourceError) as caught:
        ingest({}, configured(tmp_path / "corpus"), tmp_path / "out")
    place = f"file:corpus/{case.name}{case.bad[0][0]}: "
    assert str(caught.value).startswith(place) and "\n" not in str(caught.value)
    assert (tmp_path / "corpus" / case.name).read_bytes() == case.content
