from __future__ import annotations

import pytest

from tasks.cleaning.config import CleaningConfig
from tasks.cleaning.language import Language, identify
from tasks.cleaning.page import Page
from tasks.cleaning.rules import OtherLanguage, build, first_finding
from tasks.cleaning.shingles import words

GOOD = (
    "The old bridge over the river was built by the people of the village, who carried every stone down from "
    "the hill. It took them nine years, and the work was done in winter when nobody was needed in the fields."
)
ENGLISH = Language("en", 0.99)


def page(text: str, domain: str = "articles", language: Language = ENGLISH) -> Page:
    return Page(text, domain, language, words(text))


def rule_for(candidate: Page) -> str | None:
    finding = first_finding(build(CleaningConfig(), candidate.domain), candidate)
    return finding.rule if finding else None


def test_good_prose_passes_every_rule() -> None:
    assert rule_for(page(GOOD)) is None


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("too-short", "Only three words."),
        ("too-short", ""),
        ("word-length", "a b c d e " * 10),
        ("word-length", "QWxhZGRpbjpvcGVuIHNlc2FtZQAxMjM0NTY3ODkw " * 20),
        ("digits", "on 20260101 at 123456 we saw 987654321 and then 55555 " * 5),
        ("symbols", "word ### *** word +++ === ### !!! " * 20),
        ("repeated-lines", GOOD + "\nSubscribe to our letter and never miss a word of it again\n" * 8),
        ("boilerplate", "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod. " * 4),
        ("boilerplate", "Please enable JavaScript to see this page. " * 6),
    ],
)
def test_each_rule_drops_what_it_is_for(rule: str, text: str) -> None:
    assert rule_for(page(text)) == rule


def test_a_finding_says_how_much_was_too_much() -> None:
    finding = first_finding(build(CleaningConfig(), "articles"), page("one two three"))
    assert finding and (finding.value, finding.reason) == (3, "3 words, fewer than 20")


def test_a_tweet_may_be_short() -> None:
    assert rule_for(page("Yay, another good day!", domain="social")) is None
    assert rule_for(page("Yay, another good day!", domain="web")) == "too-short"


def test_a_play_repeats_its_speakers_and_stays() -> None:
    lines = [f"HAMLET\n{GOOD[i:]} {i}" for i in range(40)]
    assert rule_for(page("\n".join(lines))) is None


def test_an_article_about_filler_text_stays() -> None:
    assert rule_for(page(f"{GOOD} Printers call such filler lorem ipsum. {GOOD} {GOOD} {GOOD}")) is None


def test_language_is_judged_on_long_and_clear_texts_only() -> None:
    french = (
        "Le vieux pont sur la rivière a été construit par les habitants du village, qui ont porté chaque "
        "pierre depuis la colline pendant neuf hivers."
    )
    assert identify(french).code == "fr"
    assert rule_for(page(french, language=identify(french))) == "language"
    assert rule_for(page(GOOD, language=Language("fr", 0.5, {"en": 0.4}))) is None
    assert rule_for(page(GOOD, language=Language("ms", 0.5, {"id": 0.4}))) == "language"
    assert rule_for(page("Bonjour tout le monde", "social", Language("fr", 0.99))) is None


def test_writing_without_spaces_counts_by_its_characters() -> None:
    japanese = "古い橋は村の人々によって建てられ、彼らは丘から石を一つずつ運んだ。"
    rule = OtherLanguage(("en",), 20, 0.8)
    assert rule.check(page(3 * japanese, language=identify(japanese))) is not None
    assert rule.check(page("古い橋", language=Language("ja", 1.0))) is None


def test_text_without_letters_has_no_language() -> None:
    assert identify("12 34 :-)").code == "und"


def test_rule_names_are_distinct() -> None:
    names = [rule.name for rule in build(CleaningConfig(), "web")]
    assert len(set(names)) == len(names)
