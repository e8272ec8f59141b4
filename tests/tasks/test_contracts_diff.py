"""What changed between two readings of a contract."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import contracts, contracts_diff
from tasks.contracts_report import ContractResult, ExpectationResult
from tasks.errors import ArtifactError


def entry(expectation: str = "expect_a", column: str = "text", **values: Any) -> ExpectationResult:
    plain: dict[str, Any] = {
        "kwargs": {"column": column},
        "severity": "critical",
        "description": "",
        "remedy": "",
        "success": True,
        "checked": True,
        "unexpected_count": 0,
        "unexpected_percent": 0.0,
        "examples": (),
        "observed": "",
        "detail": "",
    }
    return ExpectationResult(expectation=expectation, column=column, **plain | values)


def verdict(*entries: ExpectationResult, rows: int = 10) -> ContractResult:
    success = all(result.success for result in entries)
    return ContractResult(suite="clean", rows=rows, success=success, results=entries)


def kinds(before: ContractResult, now: ContractResult) -> list[str]:
    return [change.kind for change in contracts_diff.compare({"clean": before}, {"clean": now})]


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (verdict(entry()), verdict(entry()), []),
        (verdict(entry()), verdict(entry(success=False, unexpected_count=3)), ["broken"]),
        (verdict(entry(success=False)), verdict(entry()), ["mended"]),
        (verdict(entry(unexpected_count=1)), verdict(entry(unexpected_count=2)), ["rows at fault"]),
        (verdict(entry(observed="4.1")), verdict(entry(observed="4.2")), ["observation"]),
        (verdict(entry(), rows=10), verdict(entry(), rows=9), ["rows"]),
        (verdict(entry(kwargs={"mostly": 1})), verdict(entry(kwargs={"mostly": 0.5})), ["terms"]),
        (verdict(entry(severity="critical")), verdict(entry(severity="warning")), ["terms"]),
        (verdict(entry()), verdict(entry(), entry("expect_b")), ["new"]),
        (verdict(entry(), entry()), verdict(entry()), ["gone"]),
    ],
)
def test_every_kind_of_difference_is_told(
    before: ContractResult, now: ContractResult, expected: list[str]
) -> None:
    assert kinds(before, now) == expected


def test_the_gravest_comes_first_and_whole_contracts_count() -> None:
    before = {"clean": verdict(entry(), rows=1), "old": verdict(entry())}
    now = {"clean": verdict(entry(success=False), rows=2), "fresh": verdict(entry())}
    found = contracts_diff.compare(before, now)
    assert [(change.kind, change.contract) for change in found] == [
        ("broken", "clean"),
        ("rows", "clean"),
        ("new", "fresh"),
        ("gone", "old"),
    ]
    assert found[0].about == "clean expect_a on text"
    assert (found[0].before, found[0].now) == ("passed", "failed")


_ENTRIES = st.builds(
    entry,
    st.sampled_from(["expect_a", "expect_b"]),
    st.sampled_from(["id", "text"]),
    success=st.booleans(),
    unexpected_count=st.integers(0, 3),
    observed=st.sampled_from(["", "1", "2"]),
)
_VERDICTS = st.builds(
    lambda entries, rows: verdict(*entries, rows=rows), st.lists(_ENTRIES, max_size=4), st.integers(0, 2)
)


@given(_VERDICTS, _VERDICTS)
def test_a_difference_has_its_mirror_image(left: ContractResult, right: ContractResult) -> None:
    mirrored = {"broken": "mended", "mended": "broken", "new": "gone", "gone": "new"}
    assert kinds(left, left) == []
    assert sorted(mirrored.get(kind, kind) for kind in kinds(left, right)) == sorted(kinds(right, left))


def test_values_of_the_data_stay_harmless() -> None:
    poison = "<script>alert(1)</script>|[x](http://evil.example)"
    changes = contracts_diff.compare(
        {"c": verdict(entry(observed="1"))}, {"c": verdict(entry(observed=poison))}
    )
    html, markdown = contracts_diff.to_html(changes), contracts_diff.to_markdown(changes)
    assert "<script" not in html + markdown
    assert "](http" not in markdown
    assert "Nothing changed" in contracts_diff.to_html([])


def test_a_verdict_that_is_none_is_named(tmp_path: Path) -> None:
    assert contracts_diff.read(tmp_path) == {}
    folder = tmp_path / "contracts"
    folder.mkdir()
    (folder / "clean.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"clean\.json"):
        contracts_diff.read(tmp_path)


def test_a_suite_that_guards_several_files_gives_each_verdict_a_name() -> None:
    guarded = {
        "documents.parquet": "clean",
        "train.documents.parquet": "shards",
        "test.documents.parquet": "shards",
    }
    assert list(contracts.names(guarded).values()) == ["clean", "shards-train", "shards-test"]
