"""The waterfall adds up and is drawn for every shape of a filter report."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.reporting.filter_picture import steps, waterfall


@given(st.dictionaries(st.text(min_size=1, max_size=5), st.integers(1, 50), max_size=30), st.integers(0, 99))
def test_the_bars_lead_from_what_was_read_to_what_was_kept(dropped: dict[str, int], kept: int) -> None:
    read = kept + sum(dropped.values())
    first, *rules, last = steps(read, dropped)
    assert (first.name, first.size, last.name, last.size) == ("read", read, "kept", kept)
    left = read
    for rule in rules:
        assert rule.left + rule.size == left
        left = rule.left
    assert left == kept and len(rules) <= 13
    assert sum(rule.size for rule in rules) == sum(dropped.values())


def test_the_rule_that_took_most_stands_first_and_the_smallest_share_a_bar() -> None:
    bars = steps(1000, {f"rule-{n:02}": n for n in range(1, 16)})
    assert [bar.name for bar in bars[1:3]] == ["rule-15", "rule-14"]
    assert (bars[-2].name, bars[-2].size) == ("3 other rules", 6)


@pytest.mark.parametrize(
    "dropped", [{"too-short": 1}, {"<b>$x$</b>\u202e" * 9: 10}, {f"r{n}": 1 for n in range(40)}]
)
def test_every_shape_is_drawn(tmp_path: Path, dropped: dict[str, int]) -> None:
    assert waterfall(tmp_path / "a.png", 50, dropped, 60)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("read", "dropped"), [(0, {}), (5, {})])
def test_without_losses_there_is_no_picture(tmp_path: Path, read: int, dropped: dict[str, int]) -> None:
    assert not waterfall(tmp_path / "a.png", read, dropped, 60)
    assert not (tmp_path / "a.png").exists()
