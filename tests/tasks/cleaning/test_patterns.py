"""Rules of the user's own, and what becomes of patterns that cannot be used."""

from __future__ import annotations

import pytest

from tasks.cleaning.config import CleaningConfig
from tasks.cleaning.language import Language
from tasks.cleaning.page import Page
from tasks.cleaning.patterns import Pattern, PatternConfig, build
from tasks.errors import DataError


def page(text: str) -> Page:
    return Page(text, "web", Language("en", 0.99), text.split(), "pages/7.html")


def rule(pattern: str, maximum: int = 0, timeout: float = 5.0) -> Pattern:
    config = PatternConfig(name="mine", pattern=pattern, maximum=maximum)
    (built,) = build([config], timeout, "web")
    return built


def test_hits_above_the_maximum_drop() -> None:
    advert = rule(r"(?i)\bbuy now\b", maximum=2)
    assert advert.check(page("Buy now or buy now.")) is None
    finding = advert.check(page("Buy now, buy now, BUY NOW, buy now!"))
    assert finding == ("pattern-mine", "found more than 2 times", 3)
    assert rule("buy").check(page("")) is None


def test_letters_of_every_script_are_found() -> None:
    assert rule(r"\p{Cyrillic}{5}").check(page("Привет, мир"))
    assert rule(r"\p{Cyrillic}{5}").check(page("Hello, world")) is None


def test_domains_choose_the_documents() -> None:
    config = PatternConfig(name="mine", pattern="x", domains=("web", "social"))
    assert len(build([config], 1.0, "web")) == 1
    assert build([config], 1.0, "books") == ()


@pytest.mark.parametrize("text", ["a" * 40, "a" * 40 + "!"])
def test_the_classic_of_catastrophic_patterns_ends(text: str) -> None:
    """The standard library's module needs 2**40 steps for the second; this one sees through the pattern."""
    finding = rule("(a+)+$").check(page(text))
    assert bool(finding) == (text == "a" * 40)


@pytest.mark.parametrize("pattern", ["(a|a)+$", "(?:a|aa)+$", r"^(?:[a-z]|\w)+$"])
def test_a_pattern_that_would_search_for_ever_stops_by_its_name(pattern: str) -> None:
    with pytest.raises(DataError) as caught:
        rule(pattern, timeout=0.1).check(page("a" * 60 + "!"))
    message = str(caught.value)
    assert message.startswith("cleaning: pages/7.html: rule pattern-mine takes more than 0.1 s")
    assert "pattern_timeout" in message and "\n" not in message


def test_a_pattern_that_needs_too_much_memory_stops_by_its_name() -> None:
    class Greedy:
        def finditer(self, text: str, timeout: float) -> list[str]:
            raise MemoryError

    with pytest.raises(DataError, match="rule pattern-x takes too much memory"):
        Pattern("pattern-x", Greedy(), 0, 1.0).check(page("a"))


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("(", "is not a regular expression that can be used"),
        ("a{3,2}", "is not a regular expression that can be used"),
        (r"\p{Nonsense}", "is not a regular expression that can be used"),
        ("a*", "finds the empty text"),
        ("^", "finds the empty text"),
        ("((a{1000}){1000}){1000}", "counts multiply to more than 10000"),
        ("a{1,99999}", "counts multiply to more than 10000"),
        ("((a{50,}){50,}){50,}", "counts multiply to more than 10000"),
        ("", "at least 1 character"),
    ],
)
def test_a_pattern_that_cannot_be_used_is_refused(pattern: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        PatternConfig(name="mine", pattern=pattern)


def test_two_rules_of_one_name_are_refused() -> None:
    one = {"name": "mine", "pattern": "a"}
    with pytest.raises(ValueError, match="two are called 'mine'"):
        CleaningConfig.model_validate({"patterns": [one, one]})
    with pytest.raises(ValueError, match="String should match pattern"):
        PatternConfig(name="My rule", pattern="a")
