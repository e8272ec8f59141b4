"""FineWeb's rules, each at its published threshold, which drops, and one step before it."""

from __future__ import annotations

import pytest

from tasks.cleaning import fineweb
from tasks.cleaning.language import Language
from tasks.cleaning.page import Page
from tasks.cleaning.published import PublishedRule


def objects(rule: PublishedRule, text: str) -> bool:
    finding = rule.check(Page(text, "web", Language("en", 0.99), text.split()))
    assert finding is None or (finding.rule == rule.name and finding.reason)
    return finding is not None


@pytest.mark.parametrize(
    ("rule", "stays", "goes"),
    [
        (fineweb.LinePunctuation(), "End.\n" * 13 + "none\n" * 87, "End.\n" * 12 + "none\n" * 88),
        (fineweb.LinePunctuation(), "\n\n".join(["So?", "no", "no"]), "no\n\nno\n\nno"),
        (fineweb.DuplicateLineCharacters(), "\n".join("abcdefghija"), "\n".join("abcdefghia")),
        (
            fineweb.ShortLines(),
            f"{'a' * 29}\n" * 66 + f"{'a' * 30}\n" * 34,
            f"{'a' * 29}\n" * 67 + f"{'a' * 30}\n" * 33,
        ),
    ],
)
def test_each_rule_at_its_threshold_and_before(rule: PublishedRule, stays: str, goes: str) -> None:
    assert not objects(rule, stays)
    assert objects(rule, goes)


def test_empty_lines_are_no_lines() -> None:
    assert not objects(fineweb.LinePunctuation(threshold=0.4), "One.\n\nno")
    assert objects(fineweb.ShortLines(length=5, threshold=0.5), "long line\n\nno")
    assert not objects(fineweb.ShortLines(length=5, threshold=0.51), "long line\n\nno")


def test_thresholds_are_the_configuration() -> None:
    assert objects(fineweb.DuplicateLineCharacters(threshold=0.01), "\n".join(["a" * 50, "b", "b"]))
    assert not objects(fineweb.DuplicateLineCharacters(), "\n".join(["a" * 50, "b", "b"]))
    with pytest.raises(ValueError, match="greater than 0"):
        fineweb.DuplicateLineCharacters(threshold=0)  # would drop every document
