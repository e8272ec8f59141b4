from __future__ import annotations

import json
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import SourceError
from tasks.sources import files
from tasks.sources.config import FilesSource
from tasks.sources.outcomes import Bad, Kept, Outcome
from tasks.sources.records import Record, json_lines, separated

LIMIT = 1 << 16


def read(path: Path | str, **settings: object) -> list[Outcome]:
    source = FilesSource.model_validate(
        {"path": str(path), "domain": "books", "licence": "CC0-1.0", **settings}
    )
    return list(files.read(source, files.interpreter(source, LIMIT), LIMIT))


def texts(outcomes: list[Outcome]) -> list[str]:
    return [outcome.values["text"] for outcome in outcomes if isinstance(outcome, Kept)]


def rules(outcomes: list[Outcome]) -> list[tuple[str, str]]:
    return [(outcome.where, outcome.rule) for outcome in outcomes if isinstance(outcome, Bad)]


def test_text_files_come_sorted_with_uris_that_say_nothing_of_the_machine(tmp_path: Path) -> None:
    folder = tmp_path / "corpus" / "deep"
    folder.mkdir(parents=True)
    for name, text in (("corpus/b.txt", "second"), ("corpus/a.txt", "first"), ("corpus/deep/c.txt", "third")):
        (tmp_path / name).write_text(text)
    outcomes = read(tmp_path / "corpus" / "**" / "*.txt")
    assert [(kept.uri, kept.values["text"]) for kept in outcomes if isinstance(kept, Kept)] == [
        ("file:corpus/a.txt", "first"),
        ("file:corpus/b.txt", "second"),
        ("file:corpus/deep/c.txt", "third"),
    ]


def test_the_suffix_tells_the_format_and_the_configuration_overrules_it(tmp_path: Path) -> None:
    (tmp_path / "page.htm").write_text("<p>x</p>")
    assert read(tmp_path / "page.htm")[0].values["format"] == "html"  # type: ignore[union-attr]
    (tmp_path / "page.dat").write_text("words")
    with pytest.raises(SourceError, match=r"page\.dat: \.dat does not tell the format; set `format`"):
        read(tmp_path / "page.dat")
    assert read(tmp_path / "page.dat", format="md")[0].values["format"] == "text"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\xef\xbb\xbfcaf\xc3\xa9", "café"),
        ("café".encode("utf-16"), "café"),
        (b"\xfe\xff\x00o\x00k", "ok"),
        (b"one\r\ntwo\x0bthree\xc2\x85four", "one\r\ntwo\x0bthree\x85four"),
    ],
)
def test_byte_order_marks_are_understood_and_nothing_else_is_changed(
    tmp_path: Path, content: bytes, expected: str
) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    assert texts(read(tmp_path / "a.txt")) == [expected]


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"", "empty"),
        (b"\xef\xbb\xbf", "empty"),
        (b" \n\n\t ", "empty"),
        (b"caf\xe9", "encoding"),
        (b"\xff\xfea", "encoding"),
        (b"nul \x00 here", "nul"),
        (b"x" * (LIMIT + 1), "too-large"),
    ],
)
def test_a_text_file_that_is_no_text_is_quarantined(tmp_path: Path, content: bytes, rule: str) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    outcomes = read(tmp_path / "a.txt")
    assert rules(outcomes) == [(f"file:{tmp_path.name}/a.txt", rule)]


def test_a_text_of_exactly_the_limit_is_kept(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"x" * LIMIT)
    assert len(texts(read(tmp_path / "a.txt"))[0]) == LIMIT


LINES: list[tuple[bytes, str | None]] = [
    (b'{"text": "good"}', None),
    (b'{"text": "carriage return"}\r', None),
    (b"", None),
    (b"   ", None),
    (b'{"text": "\\u00e9", "n": 99999999999999999999999999}', None),
    (b'{"text": "cut', "json"),
    (b"garbage", "json"),
    (b"<html><body>502 Bad Gateway</body></html>", "json"),
    (b'["text"]', "json"),
    (b'"text"', "json"),
    (b'{"text": "one", "text": "two"}', "json"),
    (b'{"text": "x", "n": NaN}', "json"),
    (b'{"text": "raw \x01 control"}', "json"),
    (b"[" * 3000 + b"]" * 3000, "json"),
    (b'{"n": ' + b"9" * 5000 + b"}", "json"),
    (b'{"body": "renamed"}', "missing-field"),
    (b'{"text": null}', "null-text"),
    (b'{"text": 7}', "not-text"),
    (b'{"text": {"text": "nested"}}', "not-text"),
    (b'{"text": " "}', "empty"),
    (b'{"text": "nul \\u0000"}', "nul"),
    (b'{"text": "half \\ud83d"}', "lone-surrogate"),
    (b'{"text": "caf\xe9"}', "encoding"),
    (b'{"text": "' + b"x" * LIMIT + b'"}', "too-large"),
]


def test_every_bad_line_is_quarantined_by_its_number_and_the_others_are_kept(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(line for line, _ in LINES))
    outcomes = read(tmp_path / "a.jsonl")
    name = f"file:{tmp_path.name}/a.jsonl"
    expected = [(f"{name}:{number}", rule) for number, (_, rule) in enumerate(LINES, 1) if rule]
    assert rules(outcomes) == expected
    assert texts(outcomes) == ["good", "carriage return", "é"]
    records = sum(1 for line, _ in LINES if line.strip())
    assert len(outcomes) == records


def test_bad_records_keep_an_excerpt_and_the_digest_of_their_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "good"}\n{"text": "caf\xe9\x00"}\n')
    (bad,) = [outcome for outcome in read(tmp_path / "a.jsonl") if isinstance(outcome, Bad)]
    assert bad.excerpt == '{"text": "caf\ufffd\\0"}\n'
    assert len(bad.sha256) == 64
    assert bad.uri.endswith("a.jsonl#L2")
    assert "byte 13" in bad.reason


def test_a_utf16_file_of_lines_is_quarantined_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x"}\n', encoding="utf-16")
    (bad,) = read(tmp_path / "a.jsonl")
    assert isinstance(bad, Bad)
    assert "UTF-16; convert it to UTF-8" in bad.reason


def test_a_very_long_line_does_not_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with path.open("wb") as handle:
        handle.write(b'{"text": "')
        for _ in range(64):
            handle.write(b"x" * (1 << 20))
        handle.write(b'"}\n{"text": "after"}\n')
    tracemalloc.start()
    outcomes = read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [rule for _, rule in rules(outcomes)] == ["too-large"]
    assert outcomes[0].value == (64 << 20) + 12  # type: ignore[union-attr]
    assert texts(outcomes) == ["after"]
    assert peak < 8 << 20


def test_identifiers_and_origins_go_into_the_uri(tmp_path: Path) -> None:
    rows = [{"body": "one", "key": 7, "url": "https://a.example/x"}, {"body": "two", "key": None, "url": "y"}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    outcomes = read(tmp_path / "a.jsonl", text="body", id="key")
    assert outcomes[0].uri == f"file:{tmp_path.name}/a.jsonl#7"  # type: ignore[union-attr]
    assert rules(outcomes) == [(f"file:{tmp_path.name}/a.jsonl:2", "identifier")]
    assert [o.uri for o in read(tmp_path / "a.jsonl", text="body", uri="url")] == ["https://a.example/x", "y"]  # type: ignore[union-attr]


def test_csv_follows_quotes_over_lines_and_blank_lines_inside_them(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b'id,text\r\n1,"one, ""two""\n\nthree"\r\n\r\n2,=cmd|calc\r\n')
    assert texts(read(tmp_path / "a.csv")) == ['one, "two"\n\nthree', "=cmd|calc"]


def test_bad_rows_of_a_csv_are_quarantined(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b'id,text\n1,one\n2\n3,x,y\n4,caf\xe9\n5,"a"b\n6,six\n')
    outcomes = read(tmp_path / "a.csv")
    name = f"file:{tmp_path.name}/a.csv"
    assert rules(outcomes) == [
        (f"{name}:3", "csv"),
        (f"{name}:4", "csv"),
        (f"{name}:5", "encoding"),
        (f"{name}:6", "csv"),
    ]
    assert texts(outcomes) == ["one", "six"]


def test_an_open_quote_counts_every_line_it_swallows(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('id,text\n1,one\n2,"open\n3,three\n4,four\n')
    outcomes = read(tmp_path / "a.csv")
    assert texts(outcomes) == ["one"]
    assert [where.rsplit(":", 1)[1] for where, _ in rules(outcomes)] == ["3", "4", "5"]


def test_tabs_separate_a_tsv(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("id\ttext\n1\tone, two\n")
    assert texts(read(tmp_path / "a.tsv")) == ["one, two"]


@pytest.mark.parametrize("content", ["id,body\n1,one\n", "text,text\na,b\n", '"open\n'])
def test_a_csv_without_the_column_is_one_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(SourceError, match=r"a\.csv:") as caught:
        read(tmp_path / "a.csv")
    assert "\n" not in str(caught.value)


def test_parquet_rows_are_documents(tmp_path: Path) -> None:
    table = pa.table({"text": ["one", None, "three"], "n": [1, 2, 3]})
    pq.write_table(table, tmp_path / "a.parquet", write_page_checksum=True)
    outcomes = read(tmp_path / "a.parquet")
    assert texts(outcomes) == ["one", "three"]
    assert rules(outcomes) == [(f"file:{tmp_path.name}/a.parquet row 2", "null-text")]
    with pytest.raises(SourceError, match=r"has no column 'body'; its columns are text, n"):
        read(tmp_path / "a.parquet", text="body")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not parquet at all"])
def test_a_parquet_file_that_is_none_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.parquet").write_bytes(content)
    (bad,) = read(tmp_path / "a.parquet")
    assert isinstance(bad, Bad) and bad.rule == "damaged"
    assert (bad.where, "is no readable parquet file" in bad.reason) == (
        f"file:{tmp_path.name}/a.parquet",
        True,
    )


def test_a_truncated_parquet_file_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["one"] * 100}), tmp_path / "a.parquet")
    (tmp_path / "a.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-20])
    assert rules(read(tmp_path / "a.parquet")) == [(f"file:{tmp_path.name}/a.parquet", "damaged")]


def test_a_glob_that_matches_nothing_and_a_folder_are_errors(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="matches no file; check the path"):
        read(tmp_path / "*.txt")
    with pytest.raises(SourceError, match=r"is a folder, not a file; name the files in it"):
        read(tmp_path)


def test_pipes_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.txt")
    (tmp_path / "b.txt").write_text("words")
    assert texts(read(tmp_path / "*.txt")) == ["words"]


def _append(path: Path) -> None:
    with path.open("a") as handle:
        handle.write('{"text": "three"}\n')


def _truncate(path: Path) -> None:
    os.truncate(path, 16)


def _overwrite(path: Path) -> None:
    """As long as before, and as old to the second."""
    kept = path.stat()
    path.write_text(path.read_text().upper())
    os.utime(path, ns=(kept.st_atime_ns, kept.st_mtime_ns + 1))


def _replace(path: Path) -> None:
    """By another file of the same size and time."""
    kept, other = path.stat(), path.with_name("other")
    other.write_text(path.read_text().upper())
    os.utime(other, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    other.replace(path)


@pytest.mark.parametrize("change", [_append, _truncate, _overwrite, _replace])
@pytest.mark.parametrize("when", ["since its digest", "while it is read"])
def test_a_file_that_changes_is_an_error(when: str, change: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one"}\n{"text": "two"}\n')
    source = FilesSource(path=str(path), domain="books", licence="CC0-1.0")
    files.digests(source)
    outcomes = files.read(source, files.interpreter(source, LIMIT), LIMIT)
    if when == "while it is read":
        next(outcomes)
    change(path)
    with pytest.raises(SourceError, match=r"a\.jsonl: changed while it was being read; run again"):
        list(outcomes)
    files.digests(source)
    assert list(files.read(source, files.interpreter(source, LIMIT), LIMIT))


@pytest.mark.parametrize(
    "change", [lambda path: path.unlink(), lambda path: path.with_name("c.txt").write_text("c")]
)
def test_other_files_than_those_of_the_fingerprint_are_an_error(
    change: Callable[[Path], object], tmp_path: Path
) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text(name)
    source = FilesSource(path=str(tmp_path / "*.txt"), domain="books", licence="CC0-1.0")
    files.digests(source)
    change(tmp_path / "b.txt")
    with pytest.raises(SourceError, match=r"[bc]\.txt: changed while it was being read"):
        list(files.read(source, files.interpreter(source, LIMIT), LIMIT))


@settings(max_examples=60, deadline=None)
@given(content=st.binary(max_size=400), kind=st.sampled_from(["jsonl", "csv", "tsv", "txt"]))
def test_any_bytes_become_records_or_one_named_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, kind: str
) -> None:
    path = tmp_path_factory.mktemp("any") / f"a.{kind}"
    path.write_bytes(content)
    try:
        outcomes = read(path)
    except SourceError as error:
        assert f"a.{kind}" in str(error)
    else:
        assert outcomes
        for kept in texts(outcomes):
            assert kept.encode()


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\x00"), min_size=1)
    )
)
def test_what_is_written_is_what_is_read(tmp_path_factory: pytest.TempPathFactory, rows: list[str]) -> None:
    path = tmp_path_factory.mktemp("any") / "a.jsonl"
    path.write_text("".join(json.dumps({"text": row}, ensure_ascii=False) + "\n" for row in rows), newline="")
    found = [
        record.fields["text"] for record in json_lines(path, "file:a", 1 << 20) if isinstance(record, Record)
    ]
    assert found == rows


def test_the_csv_limit_of_other_code_is_left_as_it_was(tmp_path: Path) -> None:
    import csv

    (tmp_path / "a.csv").write_text("text\none\n")
    before = csv.field_size_limit()
    list(separated(",")(tmp_path / "a.csv", "file:a", LIMIT))
    assert csv.field_size_limit() == before
