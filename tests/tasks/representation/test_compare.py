"""Corpora are compared number by number, and only what chance does not explain is told."""

from __future__ import annotations

from typing import Any

from tasks.representation.audit import RATE, RepresentationConfig, examine_representation
from tasks.representation.compare import compare


def audited(women: int, men: int) -> list[dict[str, Any]]:
    texts = ["She went home and slept."] * women + ["He went home and slept."] * men
    documents = [{"text": text, "domain": "books"} for text in texts]
    found = examine_representation(documents, RepresentationConfig(), samples=200, seed=0)
    return [record.row() for record in found.records]


def test_the_same_corpus_has_not_changed() -> None:
    rows = audited(50, 50)
    changes, compared = compare(rows, rows)
    assert changes == [] and compared == len(rows)


def test_a_planted_change_is_told_with_its_interval() -> None:
    changes, _ = compare(audited(50, 50), audited(10, 90))
    found = {(change.condition, change.domain): change for change in changes if change.metric == RATE}
    assert set(found) == {
        (group, domain) for group in ("gender: women", "gender: men") for domain in ("(all)", "books")
    }
    women = found["gender: women", "(all)"]
    assert (
        (women.before, women.now) == (100_000, 20_000) and women.gap.high is not None and women.gap.high < 0
    )


def test_small_differences_are_not_told() -> None:
    assert compare(audited(50, 50), audited(48, 52))[0] == []


def test_numbers_that_only_one_corpus_has_are_left_out() -> None:
    now = audited(50, 50)
    assert compare([row for row in now if row["metric"] != RATE], now)[1] < len(now)
