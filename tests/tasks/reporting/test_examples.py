"""Examples of an examination: what was asked comes first, and much text gets a table of its own."""

from __future__ import annotations

from tasks.reporting.blocks import Table
from tasks.reporting.config import ReportingConfig
from tasks.reporting.examples import _in_order, _list
from tasks.reporting.page import Section


def test_what_was_asked_comes_first_and_the_id_last() -> None:
    assert _in_order(["answers", "context", "f1", "gold", "id", "question", "gold"]) == [
        "question", "context", "gold", "answers", "f1", "id",
    ]  # fmt: skip


def test_answers_of_several_models_stand_below_each_other() -> None:
    section = Section("")
    example = {
        "answers": {"model": "rain", "random_span": "<b>boats</b>"},
        "id": "7",
        "question": "What fell?",
    }
    _list(section, [example, example], None, ReportingConfig())
    tables = [block for block in section.blocks if isinstance(block, Table)]
    assert [table.headings for table in tables] == [("example 1", ""), ("example 2", "")]
    assert tables[0].rows == (
        ("question", "What fell?"),
        ("answers: our model", "rain"),
        ("answers: a random span", "<b>boats</b>"),
        ("id", "7"),
    )
