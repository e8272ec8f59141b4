from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.cleaning.config import SplitConfig
from tasks.cleaning.splits import assign, assign_documents, counts
from tasks.errors import DataError


def groups(count: int, salt: str = "") -> list[bytes]:
    return [hashlib.sha256(f"{salt}{i}".encode()).digest() for i in range(count)]


def test_shares_are_met_on_average() -> None:
    found = counts(assign(groups(20_000), SplitConfig(), "x").values())
    assert found["validation"] == pytest.approx(600, rel=0.15)
    assert found["test"] == pytest.approx(1_000, rel=0.15)


def test_additions_move_nobody() -> None:
    before = assign(groups(2_000), SplitConfig(), "x")
    after = assign(groups(3_000), SplitConfig(), "x")
    assert all(after[group] == split for group, split in before.items())


@given(st.permutations(groups(30)))
def test_the_order_does_not_matter(shuffled: list[bytes]) -> None:
    assert assign(shuffled, SplitConfig(), "x") == assign(groups(30), SplitConfig(), "x")


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("count", [3, 4, 20])
def test_no_split_of_a_small_set_is_empty(seed: int, count: int) -> None:
    assert all(counts(assign(groups(count, f"{seed}-"), SplitConfig(), "x").values()).values())


@pytest.mark.parametrize("seed", range(10))
def test_large_held_out_shares_leave_something_to_train_on(seed: int) -> None:
    config = SplitConfig(validation=0.4, test=0.4)
    assert all(counts(assign(groups(3, str(seed)), config, "x").values()).values())


def test_another_salt_draws_other_splits() -> None:
    drawn = [assign(groups(1_000), SplitConfig(salt=salt), "x") for salt in ("a", "b")]
    assert drawn[0] != drawn[1]


def test_each_large_domain_is_in_each_split() -> None:
    keys = groups(2_025)
    domains = ["web"] * 2_000 + ["books"] * 25
    chosen = assign_documents(keys, domains, SplitConfig())
    assert all(counts([chosen[key] for key in keys[2_000:]]).values())


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_groups_are_an_error_that_names_the_set(count: int) -> None:
    with pytest.raises(DataError, match=r"sentiment rows: .* cannot be split"):
        assign(groups(count), SplitConfig(), "sentiment rows")


@pytest.mark.parametrize("share", [0, 1, -0.1, float("nan")])
@pytest.mark.parametrize("name", ["validation", "test"])
def test_impossible_shares_are_refused(name: str, share: float) -> None:
    with pytest.raises(ValueError, match=name):
        SplitConfig.model_validate({name: share})
