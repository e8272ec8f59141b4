"""What an examination gave to be looked at, in whatever simple shape it gave it.

``shown`` is JSON: lists of equal records become tables, texts in pieces with scores become coloured texts, tables
of numbers stay tables, and single facts are gathered in one. A new kind of example needs no code here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeGuard

from tasks.reporting.blocks import Cell, plain
from tasks.reporting.config import ReportingConfig
from tasks.reporting.page import Section
from tasks.reporting.safe_text import cut, safe
from tasks.reporting.task_verdict import spoken

_CELL = 240  # characters of an example's text in a table
_READ_FIRST = ("question", "context", "text", "source", "gold", "reference", "predicted", "hypothesis")
_COLUMNS = 8  # beyond it, a row's numbers are written one after the other


def show(section: Section, shown: Any, config: ReportingConfig) -> None:
    """Add all that can be shown of ``shown``; what is no JSON object, or is empty, adds nothing."""
    if isinstance(shown, dict) and config.examples_shown:
        found = Section("")
        _show(found, shown, config)
        section.illustrate(found)


def _show(section: Section, shown: Mapping[str, Any], config: ReportingConfig) -> None:
    facts = [(spoken(str(name)), _cell(value)) for name, value in shown.items() if _is_fact(value)]
    section.table(("fact", "value"), [fact for fact in facts if fact[1] != ""], config.rows_shown)
    for name, value in shown.items():
        if value and isinstance(value, list | dict) and value != shown.get("labels"):
            section.say(f"*{title(str(name))}*")
            if isinstance(value, list):
                _list(section, value, shown.get("labels"), config)
            else:
                _mapping(section, value, config)


def _list(section: Section, values: list[Any], labels: Any, config: ReportingConfig) -> None:
    few = values[: config.examples_shown]
    if all(_is_attribution(value) for value in few):
        for value in few:
            _attribution(section, value, config)
    elif all(_is_nested(value) for value in few):
        for number, value in enumerate(few, start=1):
            _record(section, f"example {number}", value, config)
    elif all(isinstance(value, dict) for value in few):
        columns = _in_order(str(key) for value in few for key in value)
        rows = [[_cell(value.get(column)) for column in columns] for value in few]
        section.table([spoken(column) for column in columns], rows)
    elif _is_square(values, labels):
        few = values
        rows = [[str(label), *map(_cell, row)] for label, row in zip(labels, values, strict=True)]
        section.table(["", *map(str, labels)], rows, config.rows_shown)
    else:
        section.items([f"“{safe(str(_cell(value)))}”" for value in few])
    if len(values) > len(few):
        section.say(f"{len(values) - len(few):,} more are in the evaluation's shown.json.")


def _record(section: Section, heading: str, value: Mapping[str, Any], config: ReportingConfig) -> None:
    """One example as a table of its own: too much text for columns side by side."""
    rows: list[tuple[str, Cell]] = []
    for name in _in_order(map(str, value)):
        part = value[name]
        if isinstance(part, dict):
            rows += [(f"{spoken(name)}: {spoken(str(key))}", _cell(each)) for key, each in part.items()]
        else:
            rows.append((spoken(name), _cell(part)))
    section.table((heading, ""), rows, config.rows_shown)


def _in_order(names: Iterable[str]) -> list[str]:
    """Each name once: what was asked, what is right, what came of it; an id last."""
    known = list(dict.fromkeys(names))
    return sorted(
        known, key=lambda name: (name == "id", _READ_FIRST.index(name) if name in _READ_FIRST else 99)
    )


def _mapping(section: Section, values: Mapping[str, Any], config: ReportingConfig) -> None:
    """One attribution, rows by columns, names with what belongs to them, or all of this further down."""
    if _is_attribution(values):
        _attribution(section, values, config)
    elif all(_is_flat(value) for value in values.values()):
        columns = list(dict.fromkeys(str(key) for row in values.values() for key in row))
        if len(columns) > _COLUMNS:
            pairs = [(spoken(str(key)), _cell(value)) for key, value in values.items()]
            section.table(("", "value"), pairs, config.rows_shown)
            return
        rows = [[str(at), *(_cell(row.get(column)) for column in columns)] for at, row in values.items()]
        section.table(["", *map(spoken, columns)], rows, config.rows_shown)
    else:
        _show(section, values, config)


def _attribution(section: Section, value: Mapping[str, Any], config: ReportingConfig) -> None:
    facts = [
        f"*{title(str(key))}:* {safe(plain(_cell(fact)))}" for key, fact in value.items() if _is_fact(fact)
    ]
    if facts:
        section.say("; ".join(facts))
    few = config.pieces_shown
    section.marked([str(piece) for piece in value["pieces"][:few]], [float(s) for s in value["scores"][:few]])
    if len(value["pieces"]) > few:
        section.say(f"{len(value['pieces']) - few:,} more pieces are not shown.")


def _is_attribution(value: Any) -> TypeGuard[Mapping[str, Any]]:
    if not isinstance(value, dict):
        return False
    pieces, scores = value.get("pieces"), value.get("scores")
    lists = isinstance(pieces, list) and isinstance(scores, list) and len(pieces) == len(scores)
    return lists and all(isinstance(score, int | float) for score in scores or ())


def _is_square(values: list[Any], labels: Any) -> bool:
    """Whether these are rows of numbers, one for each label."""
    rows = all(isinstance(row, list) and all(map(_is_fact, row)) for row in values)
    return rows and isinstance(labels, list) and {len(values), *map(len, values)} == {len(labels)}


def _is_flat(value: Any) -> bool:
    return isinstance(value, dict) and all(_is_fact(each) or each is None for each in value.values())


def _is_nested(value: Any) -> bool:
    return isinstance(value, dict) and any(isinstance(each, dict) for each in value.values())


def _is_fact(value: Any) -> bool:
    return isinstance(value, str | int | float)


def _cell(value: Any) -> Cell:
    words = _words(value)
    return cut(words, _CELL) if isinstance(words, str) else words


def _words(value: Any) -> str | int | float | None:
    """A fact as it is; of a list or an object what it holds, in a row."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, list):
        return ", ".join(plain(_words(each)) for each in value)
    return ", ".join(f"{key} {plain(_words(each))}" for key, each in value.items())


def title(name: str) -> str:
    """A name of the records as running text."""
    return safe(spoken(name).strip()) or "–"
