"""MassiveText's rules, each at its published threshold and one step beyond it."""

from __future__ import annotations

import pytest

from tasks.cleaning import gopher
from tasks.cleaning import gopher_repetition as repetition
from tasks.cleaning.language import Language
from tasks.cleaning.page import Page
from tasks.cleaning.published import PublishedRule
from tasks.cleaning.shingles import words


def page(text: str) -> Page:
    return Page(text, "web", Language("en", 0.99), words(text))


def objects(rule: PublishedRule, text: str) -> bool:
    finding = rule.check(page(text))
    assert finding is None or (finding.rule == rule.name and finding.reason)
    return finding is not None


def distinct(count: int, start: int = 0) -> list[str]:
    """So many different words of one letter."""
    return [chr(0x4E00 + start + number) for number in range(count)]


@pytest.mark.parametrize(
    ("rule", "stays", "goes"),
    [
        (gopher.WordCount(), "word " * 50, "word " * 49),
        (gopher.WordCount(), "word " * 100_000, "word " * 100_001),
        (gopher.MeanWordLength(), "abc " * 5, "abc " * 5 + "ab"),
        (gopher.MeanWordLength(), "abcdefghij " * 5, "abcdefghij " * 5 + "abcdefghijk"),
        (gopher.Symbols(), "word " * 10 + "#", "word " * 9 + "#"),
        (gopher.Symbols(), "word " * 10 + "...", "word " * 9 + "\u2026"),
        (gopher.Symbols(), "word " * 10 + "# ...", "word " * 10 + "# #"),
        (gopher.BulletLines(), "- item\n" * 9 + "end", "- item\n" * 19 + "end"),
        (gopher.BulletLines(), "-5 degrees\n" * 10, "\u2022item\n" * 10),
        (gopher.BulletLines(), "*bold*\n" * 10, "* item\n" * 10),
        (gopher.EllipsisLines(), "more...\n" * 3 + "line\n" * 7, "more...\n" * 4 + "line\n" * 6),
        (gopher.AlphabeticWords(), "b2 " * 8 + "12 +", "b2 " * 7 + "12 + 3"),
        (gopher.StopWords(), "The house OF cards", "the the the house"),
        (repetition.DuplicateLines(), "a\nb\nc\nd\ne\nf\ng\na\nb\nc", "a\nb\nc\nd\ne\nf\na\nb\nc\nd"),
        (
            repetition.DuplicateParagraphs(),
            "a\n\nb\n\nc\n\nd\n\ne\n\nf\n\ng\n\na\n\nb\n\nc",
            "a\n\nb\n\nc\n\na\n\nb",
        ),
        (repetition.DuplicateLineCharacters(), "ab\ncd\nef\ngh\nab", "abc\nde\nfg\nhi\nabc"),
        (
            repetition.DuplicateParagraphCharacters(),
            "ab\n\ncd\n\nef\n\ngh\n\nab",
            "abc\n\nde\n\nfg\n\nhi\n\nabc",
        ),
    ],
    ids=lambda value: value.name if isinstance(value, PublishedRule) else "",
)
def test_each_rule_at_its_threshold_and_beyond(rule: PublishedRule, stays: str, goes: str) -> None:
    assert not objects(rule, stays)
    assert objects(rule, goes)


def said_again(n: int, times: int, count: int) -> str:
    """Words of one letter: one n-gram so many times with other words between, ``count`` words in all."""
    phrase, other = distinct(n), iter(distinct(count, start=n))
    parts: list[str] = []
    for _ in range(times):
        parts += [*phrase, next(other)]
    return " ".join([*parts, *(next(other) for _ in range(count - len(parts)))])


@pytest.mark.parametrize(
    ("rule", "n", "percent"),
    [(repetition.Top2Gram(), 2, 20), (repetition.Top3Gram(), 3, 18), (repetition.Top4Gram(), 4, 16)],
)
def test_the_most_frequent_ngram_at_its_threshold_and_beyond(
    rule: PublishedRule, n: int, percent: int
) -> None:
    # The phrase stands `percent` times: of 100 n letters it has n * percent.
    assert not objects(rule, said_again(n, percent, 100 * n))
    assert objects(rule, said_again(n, percent, 100 * n - 1))


@pytest.mark.parametrize(
    ("rule", "n", "percent"),
    [
        (repetition.Duplicate5Grams(), 5, 15),
        (repetition.Duplicate6Grams(), 6, 14),
        (repetition.Duplicate7Grams(), 7, 13),
        (repetition.Duplicate8Grams(), 8, 12),
        (repetition.Duplicate9Grams(), 9, 11),
        (repetition.Duplicate10Grams(), 10, 10),
    ],
)
def test_repeated_ngrams_at_their_threshold_and_beyond(rule: PublishedRule, n: int, percent: int) -> None:
    # The first time the phrase is no repetition.
    assert not objects(rule, said_again(n, percent + 1, 100 * n))
    assert objects(rule, said_again(n, percent + 1, 100 * n - 1))


def test_thresholds_are_the_configuration() -> None:
    assert objects(gopher.WordCount(minimum=3), "two words")
    assert not objects(gopher.WordCount(minimum=2), "two words")
    assert not objects(gopher.StopWords(words=("der", "und"), minimum=2), "der Mond und die Sonne")
    with pytest.raises(ValueError, match="minimum must not be above maximum"):
        gopher.WordCount(minimum=9, maximum=8)
    with pytest.raises(ValueError, match="minimum must not be above maximum"):
        gopher.MeanWordLength(minimum=9, maximum=8)
    with pytest.raises(ValueError, match="less than or equal to 1"):
        gopher.BulletLines(maximum=1.1)


def test_ordinary_prose_passes_every_rule() -> None:
    text = (
        "The old bridge over the river was built by the people of the village, who carried every stone down "
        "from the hill. It took them nine years, and the work was done in winter, when nobody was needed in "
        "the fields and the water stood low enough to set the piers. Most of them had never built anything."
    )
    rules = gopher.GopherRules(enabled=True).rules("web")
    assert len(rules) == 20 and [rule.name for rule in rules if rule.check(page(text))] == []
