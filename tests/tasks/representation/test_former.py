"""The corpus before is found by when it was published, is another corpus, and is whole."""

from __future__ import annotations

from pathlib import Path

from tasks.representation.former import previous
from tests.tasks.representation.audited import evaluation, people


def test_the_newest_older_evaluation_of_another_corpus_is_the_one_before(tmp_path: Path) -> None:
    first = evaluation(tmp_path, "one", people(5, 5))
    assert previous(first) is None
    second = evaluation(tmp_path, "two", people(5, 6))
    again = evaluation(tmp_path, "two", people(5, 6), least_mentions=3)
    third = evaluation(tmp_path, "three", people(5, 7))
    assert previous(second) == first
    assert previous(again) == first, "another evaluation of the same corpus is none before it"
    assert previous(third) == again
    assert previous(first) is None, "what came later is not before"
    assert previous(evaluation(tmp_path, "four", people(1, 1), name="smoke")) is None


def test_one_that_is_damaged_or_from_before_the_counts_is_passed_over(tmp_path: Path) -> None:
    first = evaluation(tmp_path, "one", people(5, 5))
    second = evaluation(tmp_path, "two", people(5, 6))
    third = evaluation(tmp_path, "three", people(5, 7))
    (second.path / "records.parquet").write_bytes(b"damaged")
    assert previous(third) == first
    (first.path / "mentions.parquet").unlink()
    assert previous(third) is None
