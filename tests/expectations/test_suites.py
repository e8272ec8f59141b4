"""The suites: a sound table passes each, and every critical expectation fires on the fault it is for."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks import suites, tables, validation
from tasks.errors import ConfigError, GateError

Rows = list[dict[str, Any]]
SHARD = pa.schema([("id", pa.string()), ("start", pa.int64()), ("end", pa.int64()), ("bytes", pa.int64())])
SCHEMAS = {
    "raw_documents": tables.RAW_DOCUMENTS,
    "clean_documents": tables.CLEAN_DOCUMENTS,
    "token_shards": SHARD,
    "labelled_sentiment": tables.SENTIMENT,
    "labelled_question_answering": tables.QUESTION_ANSWERING,
    "labelled_translation": tables.TRANSLATION,
}
NULL, UNIQUE = "expect_column_values_to_not_be_null", "expect_column_values_to_be_unique"
IN_SET, LENGTH = "expect_column_values_to_be_in_set", "expect_column_value_lengths_to_be_between"
MATCH, NO_MATCH = "expect_column_values_to_match_regex", "expect_column_values_to_not_match_regex"
BETWEEN, SOME_OF = "expect_column_values_to_be_between", "expect_column_distinct_values_to_contain_set"
COLUMNS, ROWS = "expect_table_columns_to_match_set", "expect_table_row_count_to_be_between"
NORMAL, SPAN = "expect_column_text_to_be_unicode_normalized", "expect_answers_to_be_spans_of_context"

PAIR, TILED = "expect_column_pair_values_a_to_be_greater_than_b", "expect_spans_to_be_contiguous"
LABELS = "expect_column_unique_value_count_to_be_between"


def _row(n: int) -> dict[str, Any]:
    text = f"Sentence {n}: the ferry left,\n\tlate\u2014as ever. \u00e9 \U0001f600"
    start = 10 * n
    return {
        "id": f"row-{n}",
        "text": text,
        "format": ("text", "html", "wikitext")[n % 3],
        "domain": ("books", "articles", "web", "social", "my-wiki")[n % 5],
        "language": "en",
        "split": ("train", "validation", "test")[n % 3],
        "words": 8,
        "bytes": 30,
        "start": start,
        "end": start + 10,
        "source": "ours",
        "uri": "ours/file.txt",
        "licence": "CC0-1.0",
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        "label": ("good", "bad")[n % 2],
        "rating": None,
        "context_id": "c1",
        "context": "\U0001f600 The ferry left late.",
        "question": "What left?",
        "answer": "ferry",
        "answer_start": 6,
        "source_text": "The ferry left.",
        "target_text": "Le bac est parti.",
    }


def write(folder: Path, suite: str, edit: Callable[[Rows], None] | None = None, count: int = 6) -> Path:
    """Write a table that the suite accepts, changed by `edit`."""
    schema = SCHEMAS[suite]
    rows = [{name: _row(n)[name] for name in schema.names} for n in range(count)]
    if edit:
        edit(rows)
    path = folder / f"{suite}.parquet"
    tables.write(path, rows, schema)
    return path


def every(column: str, value: Any) -> Callable[[Rows], None]:
    """An edit that gives all rows one value."""

    def edit(rows: Rows) -> None:
        for row in rows:
            row[column] = value

    return edit


Fault = tuple[dict[str, Any], str, str]
"""What is changed in one row, and the expectation and column that must fail for that row and no other."""


def _nulls(*columns: str) -> list[Fault]:
    return [({column: None}, NULL, column) for column in columns]


def _written(column: str) -> list[Fault]:
    return [*_nulls(column), ({column: " \n\t"}, MATCH, column), ({column: ""}, MATCH, column)]


def _uncontrolled(column: str) -> list[Fault]:
    return [({column: f"a{chr(code)}b"}, NO_MATCH, column) for code in (0, 13, 27, 0x85)]


_IDENTITY: list[Fault] = [*_nulls("id"), ({"id": "row-0"}, UNIQUE, "id")]
_PROVENANCE: list[Fault] = [
    *_nulls("source", "licence"),
    ({"source": ""}, LENGTH, "source"),
    ({"licence": ""}, LENGTH, "licence"),
]
_HASHED: list[Fault] = [*_nulls("sha256"), ({"sha256": "AB12"}, MATCH, "sha256")]
_DOMAIN: list[Fault] = [
    *_nulls("domain"),
    ({"domain": "Music"}, MATCH, "domain"),
    ({"domain": ""}, MATCH, "domain"),
]
_SPLIT: list[Fault] = [
    *_nulls("split"),
    ({"split": "dev"}, IN_SET, "split"),
    ({"split": ""}, IN_SET, "split"),
]
_SPAN = "context, answer, answer_start"
FAULTS: dict[str, list[Fault]] = {
    "raw_documents": [
        *_IDENTITY,
        *_nulls("text", "format"),
        ({"text": ""}, LENGTH, "text"),
        ({"format": "pdf"}, IN_SET, "format"),
        *_DOMAIN,
        *_PROVENANCE,
        *_HASHED,
    ],
    "clean_documents": [
        *_IDENTITY,
        *_written("text"),
        *_uncontrolled("text"),
        ({"text": "user\u202etxt.exe"}, NO_MATCH, "text"),
        ({"text": "cafe\u0301"}, NORMAL, "text"),
        *_DOMAIN,
        *_nulls("language", "words", "bytes"),
        ({"language": ""}, LENGTH, "language"),
        ({"words": 0}, BETWEEN, "words"),
        ({"bytes": 0}, BETWEEN, "bytes"),
        *_SPLIT,
        *_PROVENANCE,
        *_HASHED,
        ({"sha256": _row(0)["sha256"]}, UNIQUE, "sha256"),
    ],
    "token_shards": [
        *_IDENTITY,
        *_nulls("bytes"),
        ({"bytes": 0}, BETWEEN, "bytes"),
    ],
    "labelled_sentiment": [
        *_IDENTITY,
        *_written("text"),
        *_nulls("label"),
        ({"label": ""}, LENGTH, "label"),
        *_SPLIT,
        *_PROVENANCE,
    ],
    "labelled_question_answering": [
        *_IDENTITY,
        *_nulls("context_id"),
        *_written("question"),
        ({"answer_start": 5}, SPAN, _SPAN),
        ({"answer_start": -6}, SPAN, _SPAN),
        ({"answer": ""}, SPAN, _SPAN),
        ({"answer": "Ferry"}, SPAN, _SPAN),
        ({"answer_start": -1}, SPAN, _SPAN),
        *_SPLIT,
        *_PROVENANCE,
    ],
    "labelled_translation": [
        *_IDENTITY,
        *_written("source_text"),
        *_written("target_text"),
        *_SPLIT,
        *_PROVENANCE,
    ],
}
# Faults of a whole table, or of a row among its neighbours.
TABLE_FAULTS: list[tuple[str, Callable[[Rows], None], str, str]] = [
    ("token_shards", lambda rows: rows[5].update(end=50), PAIR, "end, start"),
    ("token_shards", lambda rows: rows[0].update(start=-1), TILED, "start, end"),
    ("token_shards", lambda rows: rows[0].update(start=1), TILED, "start, end"),
    ("token_shards", lambda rows: rows[3].update(start=29), TILED, "start, end"),
    ("token_shards", lambda rows: rows[3].update(start=31), TILED, "start, end"),
    ("token_shards", lambda rows: rows.reverse(), TILED, "start, end"),
    ("labelled_sentiment", every("label", "good"), LABELS, "label"),
    *(
        (suite, every("split", "test"), SOME_OF, "split")
        for suite in SCHEMAS
        if suite not in ("raw_documents", "token_shards")
    ),
]
# A null or blank context or answer is not a span either, nor do spans with a null tile: these come in pairs.
PAIRED: dict[str, tuple[tuple[str, str], list[Fault]]] = {
    "labelled_question_answering": (
        (SPAN, _SPAN),
        [*_nulls("context", "answer", "answer_start"), ({"context": "  "}, MATCH, "context")],
    ),
    "token_shards": ((TILED, "start, end"), _nulls("start", "end")),
}


def failed(result: validation.ContractResult) -> list[tuple[str, str]]:
    """The critical expectations that failed."""
    return [(found.expectation, found.column) for found in result.failures("critical")]


def _inspected(suite: str) -> list[str]:
    return sorted({column for rule in suites.load(suite).expectations for column in rule.columns})


@pytest.mark.parametrize("suite", sorted(SCHEMAS))
def test_a_sound_table_passes_with_every_expectation_met(suite: str, tmp_path: Path) -> None:
    result = validation.check(suite, write(tmp_path, suite), stage="test")
    assert result.success and result.rows == 6
    assert [found.expectation for found in result.results if not found.success] == []
    assert [found.expectation for found in result.results] == [
        rule.type for rule in suites.load(suite).expectations
    ]


def test_a_question_without_an_answer_is_sound(tmp_path: Path) -> None:
    table = write(
        tmp_path, "labelled_question_answering", lambda rows: rows[2].update(answer="", answer_start=-1)
    )
    assert validation.check("labelled_question_answering", table, stage="test").success


@pytest.mark.parametrize("suite", sorted(FAULTS))
def test_each_fault_fails_its_own_expectation_for_its_own_row(suite: str, tmp_path: Path) -> None:
    faults = FAULTS[suite]
    at_fault: dict[tuple[str, str], list[str]] = {}
    for n, (change, kind, column) in enumerate(faults, start=1):
        name = change.get("id", f"row-{n}") or f"row {n + 1}"
        first = ["row-0"] if kind == UNIQUE else []
        at_fault.setdefault((kind, column), first).append(name)

    def edit(rows: Rows) -> None:
        for row, (change, _, _) in zip(rows[1:], faults, strict=False):
            row.update(change)

    result = validation.check(suite, write(tmp_path, suite, edit, count=len(faults) + 3), stage="test")
    found = {(bad.expectation, bad.column): list(bad.examples) for bad in result.failures("critical")}
    assert found == at_fault
    counts = {(bad.expectation, bad.column): bad.unexpected_count for bad in result.failures("critical")}
    assert counts == {key: len(rows) for key, rows in at_fault.items()}
    assert not result.success


@pytest.mark.parametrize(("suite", "edit", "expectation", "column"), TABLE_FAULTS)
def test_a_fault_of_the_table_fails_its_own_expectation_and_no_other(
    suite: str, edit: Callable[[Rows], None], expectation: str, column: str, tmp_path: Path
) -> None:
    result = validation.check(suite, write(tmp_path, suite, edit), stage="test")
    assert failed(result) == [(expectation, column)]
    assert not result.success


@pytest.mark.parametrize("suite", sorted(PAIRED))
def test_a_null_also_breaks_the_spans(suite: str, tmp_path: Path) -> None:
    spans, faults = PAIRED[suite]

    def edit(rows: Rows) -> None:
        for row, (change, _, _) in zip(rows, faults, strict=False):
            row.update(change)

    result = validation.check(suite, write(tmp_path, suite, edit), stage="test")
    found = {(bad.expectation, bad.column): bad.examples for bad in result.failures("critical")}
    assert found.pop(spans)[0] == "row-0"
    assert found == {(kind, column): (f"row-{n}",) for n, (_, kind, column) in enumerate(faults)}


@pytest.mark.parametrize("suite", sorted(SCHEMAS))
def test_every_critical_expectation_has_a_fault_that_fires_it(suite: str) -> None:
    faults = FAULTS[suite] + (PAIRED[suite][1] if suite in PAIRED else [])
    fired = {(kind, column) for _, kind, column in faults} | {(ROWS, ""), (COLUMNS, "")}
    fired |= {(kind, column) for name, _, kind, column in TABLE_FAULTS if name == suite}
    rules = suites.load(suite).expectations
    assert {(rule.type, ", ".join(rule.columns)) for rule in rules if rule.severity == "critical"} == fired


@pytest.mark.parametrize("suite", sorted(SCHEMAS))
def test_an_empty_table_never_passes(suite: str, tmp_path: Path) -> None:
    result = validation.check(suite, write(tmp_path, suite, count=0), stage="test")
    assert not result.success and (ROWS, "") in failed(result)


@pytest.mark.parametrize("suite", sorted(SCHEMAS))
def test_missing_columns_fail_by_name_and_do_not_crash(suite: str, tmp_path: Path) -> None:
    whole = pq.read_table(write(tmp_path, suite))
    path = tmp_path / "cut.parquet"
    others = [column for column in _inspected(suite) if column != "id"]
    for dropped in (["id"], others, whole.column_names):
        pq.write_table(whole.drop_columns(dropped), path)
        result = validation.check(suite, path, stage="test")
        unchecked = [found for found in result.results if not found.checked]
        touched = [rule for rule in suites.load(suite).expectations if set(rule.columns) & set(dropped)]
        assert [found.expectation for found in unchecked] == [rule.type for rule in touched]
        for found in unchecked:
            gone = [column for column in found.column.split(", ") if column in dropped]
            assert found.detail == f"the table has no column {', '.join(gone)}"
            assert found.severity == "critical" and not found.success
        assert not result.success and (COLUMNS, "") in failed(result)


@pytest.mark.parametrize("suite", sorted(SCHEMAS))
def test_a_surplus_column_is_named(suite: str, tmp_path: Path) -> None:
    path = write(tmp_path, suite)
    wide = pq.read_table(path)
    pq.write_table(wide.append_column("notes", pa.array(["x"] * wide.num_rows)), path)
    result = validation.check(suite, path, stage="test")
    assert failed(result) == [(COLUMNS, "")]
    assert result.failures("critical")[0].detail == "surplus: notes"


@pytest.mark.parametrize("suite", sorted(SCHEMAS))
def test_columns_of_nulls_never_pass(suite: str, tmp_path: Path) -> None:
    def edit(rows: Rows) -> None:
        for row in rows:
            row.update(dict.fromkeys(_inspected(suite)))

    result = validation.check(suite, write(tmp_path, suite, edit), stage="test")
    empty = [found for found in result.failures("critical") if found.expectation == NULL]
    assert sorted(found.column for found in empty) == _inspected(suite)
    assert {(found.unexpected_count, found.examples[0]) for found in empty} == {(6, "row 1")}


@pytest.mark.parametrize(
    "suite",
    ["clean_documents", "labelled_sentiment", "labelled_question_answering", "labelled_translation"],
)
def test_empty_validation_and_test_splits_are_only_a_warning(suite: str, tmp_path: Path) -> None:
    result = validation.check(suite, write(tmp_path, suite, every("split", "train")), stage="test")
    assert result.success
    [warning] = result.failures("warning")
    assert (warning.expectation, warning.detail) == (SOME_OF, "missing: test, validation")


@pytest.mark.parametrize(
    ("suite", "column"),
    [
        ("labelled_sentiment", "text"),
        ("labelled_question_answering", "question"),
        ("labelled_translation", "source_text"),
        ("labelled_translation", "target_text"),
    ],
)
def test_control_characters_in_labelled_sets_are_only_a_warning(
    suite: str, column: str, tmp_path: Path
) -> None:
    path = write(tmp_path, suite, lambda rows: rows[3].update({column: "bell\x07"}))
    result = validation.check(suite, path, stage="test")
    assert result.success
    assert [(bad.column, bad.examples) for bad in result.failures("warning")] == [(column, ("row-3",))]


@pytest.mark.parametrize(("size", "warned"), [(10, 0), (9, 1), (120, 0), (121, 1)])
def test_an_implausible_ratio_of_bytes_to_tokens_is_a_warning(size: int, warned: int, tmp_path: Path) -> None:
    path = write(tmp_path, "token_shards", every("bytes", size))
    result = validation.check("token_shards", path, stage="test")
    assert result.success and len(result.failures("warning")) == warned
    assert {found.observed for found in result.failures("warning")} <= {f"{size / 10:g}"}


@pytest.mark.parametrize(("labels", "passes"), [(2, True), (100, True), (101, False)])
def test_two_to_a_hundred_labels_of_any_name(labels: int, passes: bool, tmp_path: Path) -> None:
    def edit(rows: Rows) -> None:
        for n, row in enumerate(rows):
            row["label"] = f"\u00e9toile {n % labels}"

    path = write(tmp_path, "labelled_sentiment", edit, count=102)
    assert validation.check("labelled_sentiment", path, stage="test").success is passes


LONG = "word " * 20_000
# Columns of free text, whose values may be as long as they like.
FREE = {
    "raw_documents": ("text", "source", "licence"),
    "clean_documents": ("text", "source", "licence"),
    "token_shards": (),
    "labelled_sentiment": ("text", "label"),
    "labelled_question_answering": ("context", "question"),
    "labelled_translation": ("source_text", "target_text"),
}


@pytest.mark.parametrize("suite", sorted(SCHEMAS))
def test_values_of_a_hundred_thousand_characters_are_checked_to_their_end(suite: str, tmp_path: Path) -> None:
    """Long is no fault; a fault behind it is found, and no message grows with the data."""

    def edit(rows: Rows) -> None:
        rows[1] |= {column: f"{rows[1][column]} {LONG}" for column in FREE[suite]} | {"id": LONG}

    result = validation.check(suite, write(tmp_path, suite, edit), stage="test")
    assert result.success and not result.failures("warning")

    def spoil(rows: Rows) -> None:
        edit(rows)
        rows[2]["id"] = LONG
        if suite == "clean_documents":
            rows[1]["text"] += "\x00"

    result = validation.check(suite, write(tmp_path, suite, spoil), stage="test")
    expected = {(UNIQUE, "id")} | ({(NO_MATCH, "text")} if suite == "clean_documents" else set())
    assert set(failed(result)) == expected
    with pytest.raises(GateError) as caught:
        validation.raise_for_failure(result, "test")
    assert len(str(caught.value)) < 600 and len(validation.to_html(result)) < 60_000


def test_every_suite_of_the_folder_is_tested_here() -> None:
    assert sorted(SCHEMAS) == sorted(path.stem for path in suites.FOLDER.glob("*.json"))


@pytest.mark.parametrize("suite", sorted(SCHEMAS))
def test_a_suite_that_was_cut_off_or_altered_is_noticed(
    suite: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut at 50 places: refused by name. A flipped bit at 200: refused, or the key of the stage is another."""
    good, digest, chance = suites.path(suite).read_bytes(), suites.digest(suite), random.Random(22)
    monkeypatch.setattr(suites, "FOLDER", tmp_path)
    path = tmp_path / f"{suite}.json"
    for _ in range(50):
        path.write_bytes(good[: chance.randrange(len(good.rstrip()))])
        with pytest.raises(ConfigError, match=rf"expectations/{suite}\.json"):
            suites.load(suite)
    for _ in range(200):
        place = chance.randrange(len(good))
        path.write_bytes(good[:place] + bytes([good[place] ^ 1 << chance.randrange(8)]) + good[place + 1 :])
        assert suites.digest(suite) != digest
        try:
            suites.load(suite)
        except ConfigError as error:
            assert f"expectations/{suite}.json" in str(error) and "\n" not in str(error)


@pytest.mark.parametrize("suite", sorted(SCHEMAS))
def test_every_expectation_says_what_it_means(suite: str) -> None:
    assert all(rule.description and rule.kwargs for rule in suites.load(suite).expectations)
