"""Errors for people: one line, with nothing that could fool a terminal or give away a password."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import (
    ConfigError,
    DataError,
    GateError,
    SourceError,
    UnveilError,
    describe,
    one_line,
)
from tests.payloads import PAYLOADS


def test_an_error_names_stage_place_problem_and_remedy() -> None:
    error = SourceError("is not UTF-8", stage="ingestion", where="a.txt:7", remedy="convert it")
    assert str(error) == "ingestion: a.txt:7: is not UTF-8; convert it"
    assert str(DataError("is empty")) == "is empty"
    assert (ConfigError("x").exit_code, GateError("x").exit_code, DataError("x").exit_code) == (2, 4, 1)


@given(st.text(), st.text(), st.text(), st.text())
def test_every_error_is_one_printable_line(problem: str, stage: str, where: str, remedy: str) -> None:
    error = UnveilError(problem, stage=stage, where=where, remedy=remedy)
    for text in (str(error), describe(error), describe(ValueError(problem)), one_line(problem)):
        assert text.isprintable()
        assert len(text.splitlines()) <= 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\r\n", r"a\u000ab\u000d\u000a"),
        ("\x1b[31mred", r"\u001b[31mred"),
        ("\u202egpj.exe", r"\u202egpj.exe"),
        ("zero\u200bwidth", r"zero\u200bwidth"),
        ("nul\x00", r"nul\u0000"),
        ("line\u2028break\x85", r"line\u2028break\u0085"),
        ("\U000e0001tag", r"\U000e0001tag"),
        ("\udcff", r"\udcff"),
        ("plain wörds 漢字", "plain wörds 漢字"),
    ],
)
def test_control_characters_are_shown(text: str, shown: str) -> None:
    assert one_line(text) == shown


def test_a_long_line_is_cut_and_says_so() -> None:
    assert one_line("x" * 10_000_000, 10) == "x" * 9 + "…"
    assert one_line("x" * 10, 10) == "x" * 10
    assert len(one_line("\x00" * 100, 50)) == 50


@pytest.mark.parametrize(
    "address",
    [
        "https://user:hunter2@host/path",
        "postgresql+psycopg://me:hunter2@db:5432/x",
        "http://hunter2@host",
        "s3://a:hunter2@b",
    ],
)
def test_a_password_in_an_address_is_left_out(address: str) -> None:
    for text in (
        str(SourceError("cannot be reached", where=address)),
        describe(OSError(f"<{address}> failed")),
    ):
        assert "hunter2" not in text
        assert "://" in text


def test_an_address_without_password_stays_whole() -> None:
    text = "see https://host/a@b and mail me@host, or https://host?to=x@y"
    assert one_line(text) == text


def test_an_error_of_a_worker_process_arrives_as_it_was_raised() -> None:
    error = GateError("said no", stage="cleaning", where="x.parquet", remedy="look")
    error.stage = "tokenization"
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is GateError
    assert str(back) == str(error) == "tokenization: x.parquet: said no; look"


@pytest.mark.parametrize("payload", PAYLOADS)
def test_hostile_text_stays_one_record_of_a_log(payload: str) -> None:
    """Matrix row 23: file names, problems and remedies come from data; a log keeps one record on a line."""
    for error in (
        SourceError(payload, stage="ingestion", where=payload, remedy=payload),
        ValueError(payload),
        OSError(2, payload, payload),
    ):
        told = describe(error)
        assert len(told.splitlines()) == 1 and told.isprintable()
