"""docs/faults.md names tests that exist, for every row, and the corpora are as large as the matrix asks for."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from tests.conftest import ROOT

ROW = re.compile(r"^\| (\d+) \|(?:[^|]*\|){2}([^|]*)\|$", re.M)
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)(?:\[(\w+)\])?`")
TABLE = {
    int(row): TEST.findall(cell) for row, cell in ROW.findall((ROOT / "docs/faults.md").read_text("utf-8"))
}


@cache
def module(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def functions(path: str) -> set[str]:
    return {node.name for node in module(path).body if isinstance(node, ast.FunctionDef)}


def size(path: str, name: str) -> int:
    """Entries of a list or a dictionary that a module spells out."""
    for node in module(path).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            value = getattr(node, "value", None)
            assert isinstance(value, ast.List | ast.Dict)
            return len(value.elts if isinstance(value, ast.List) else value.keys)
    raise AssertionError(f"{path} has no {name}")


def test_every_row_has_its_tests() -> None:
    assert list(TABLE) == list(range(3, 44))
    text = (ROOT / "docs/faults.md").read_text("utf-8")
    assert sum(map(len, TABLE.values())) == text.count("::"), "a name that cannot be read is not checked"


@pytest.mark.parametrize("row", TABLE)
def test_the_tests_of_a_row_exist(row: int) -> None:
    assert TABLE[row]
    for path, name, case in TABLE[row]:
        assert name.startswith("test_") and name in functions(path), f"{path}::{name}"
        assert not case or case in functions(path), f"{path}::{name}[{case}]"


def test_every_fault_that_the_law_is_held_against_stands_in_the_table() -> None:
    named = [case for tests in TABLE.values() for _, _, case in tests if case]
    assert len(named) == len(set(named)) == size("tests/flows/test_fault_law.py", "FAULTS")


@pytest.mark.parametrize(
    ("path", "name", "least"),
    [
        ("tests/tasks/test_places.py", "PLACES", 12),
        ("tests/tasks/sources/test_bad_records.py", "CASES", 31),
        ("tests/tasks/sources/test_hostile_archives.py", "HOSTILE_TARS", 8),
        ("tests/tasks/cleaning/test_pool.py", "HOSTILE", 9),
        ("tests/tasks/test_artifacts.py", "FORMATS", 4),
        ("tests/payloads.py", "PAYLOADS", 15),
        ("tests/models/test_hostile_models.py", "PICKLES", 4),
        ("tests/models/test_hostile_models.py", "FILES", 7),
    ],
)
def test_the_corpora_have_the_sizes_that_were_asked_for(path: str, name: str, least: int) -> None:
    assert size(path, name) >= least
