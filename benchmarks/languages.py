"""How surely languages are told apart: `python -m benchmarks.languages`.

Passages are joined from the messages that django ships in 20 languages and in English (BSD-3-Clause; the demo's file,
fetched through the user's own pip), markup and placeholders taken out. Beside the identifier in use stand the guess of
the commonest language, and naive Bayes on characters that has read wagtail's messages in the same languages: it knows
the kind of text, which the identifier does not. What the pipeline makes of it stands below: non-English text kept as
English, English text dropped.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from benchmarks.shares import share
from tasks.cleaning.config import CleaningConfig
from tasks.cleaning.language import identify
from tasks.cleaning.page import Page
from tasks.cleaning.rules import OtherLanguage
from tasks.cleaning.shingles import words
from tasks.cleaning.standardisation import standardise
from tasks.sources import catalogue
from tasks.sources.labelled_config import TranslationPackage
from tasks.sources.localisation import pairs
from tasks.sources.outcomes import Kept
from tasks.sources.packages import fetch

LANGUAGES = ("ar", "cs", "da", "de", "el", "es", "fi", "fr", "he", "hu")
LANGUAGES += ("id", "it", "ja", "ko", "nl", "pl", "ru", "sv", "tr", "uk")
LENGTHS = (50, 100, 300)
_EACH = 100
_DENSE = ("ja", "ko")  # a character of theirs says what two or three of an alphabet do
_MARKUP = re.compile(r"%\([^()]*\)[a-z]|%[a-z%]|\{[^{}]*\}|<[^<>]*>|&\w+;|https?://\S+|`+[^`]*`+")
Passages = dict[str, list[str]]


def main() -> None:
    """Print accuracy by length, by language, and what becomes of text in the pipeline."""
    ours, learnt = messages(catalogue.DJANGO), messages(catalogue.WAGTAIL)
    bayes = _Bayes({code: passages(learnt[code], 300, code, 200) for code in learnt if learnt[code]})
    print("| characters | passages | identifier | naive Bayes on characters | commonest language |")
    print("|---|---|---|---|---|")
    for length in LENGTHS:
        _row(length, {code: passages(ours[code], length, code, _EACH) for code in ours}, bayes)
    longest = {code: passages(ours[code], LENGTHS[-1], code, _EACH) for code in ours}
    _by_language(longest)
    _in_the_pipeline(longest)


def messages(package: dict[str, str]) -> dict[str, list[str]]:
    """Distinct messages by language, English from the originals; markup out, in standard form."""
    found: dict[str, set[str]] = {"en": set()}
    for code in LANGUAGES:
        source = TranslationPackage.model_validate(
            {
                **package,
                "reader": "gettext",
                "licence": "BSD-3-Clause",
                "members": [f"*/{code}/LC_MESSAGES/*.po", f"*/{code}_*/LC_MESSAGES/*.po"],
            }
        )
        kept = [outcome for outcome in pairs(source, fetch(source)) if isinstance(outcome, Kept)]
        found[code] = {_plain(outcome.values["target_text"]) for outcome in kept}
        found["en"] |= {_plain(outcome.values["source_text"]) for outcome in kept}
    return {code: sorted(texts - {""}) for code, texts in found.items()}


def passages(texts: Sequence[str], length: int, code: str, count: int) -> list[str]:
    """Passages of at least so many characters, made of messages drawn with a fixed seed; messages may come again."""
    generator, wanted = random.Random(f"{code} {length}"), length // 2 if code in _DENSE else length
    return [" ".join(_enough(texts, wanted, generator)) for _ in range(count)]


def _enough(texts: Sequence[str], wanted: int, generator: random.Random) -> Iterator[str]:
    size = 0
    while size < wanted:
        text = generator.choice(texts)
        size += len(text) + 1
        yield text


def _plain(text: str) -> str:
    return " ".join(standardise(_MARKUP.sub(" ", text)).split())


def _row(length: int, found: Passages, bayes: _Bayes) -> None:
    asked = [(code, text) for code, texts in found.items() for text in texts]
    right = sum(identify(text).code == code for code, text in asked)
    theirs = sum(
        guess == code for guess, (code, _) in zip(bayes.of([t for _, t in asked]), asked, strict=True)
    )
    commonest = max(map(len, found.values()))
    columns = (share(hits, len(asked)) for hits in (right, theirs, commonest))
    print(f"| {length} | {len(asked)} | {' | '.join(columns)} |", flush=True)


def _by_language(found: Passages) -> None:
    print(f"\n| language | passages of {LENGTHS[-1]} characters | right | taken for |")
    print("|---|---|---|---|")
    for code, texts in sorted(found.items()):
        guesses = Counter(identify(text).code for text in texts)
        wrong = ", ".join(f"{other} {n}" for other, n in guesses.most_common() if other != code)
        print(f"| {code} | {len(texts)} | {share(guesses[code], len(texts))} | {wrong} |")


def _in_the_pipeline(found: Passages) -> None:
    config = CleaningConfig().language
    rule = OtherLanguage(config.keep, config.min_words, config.min_confidence)
    dropped = {
        code: sum(
            rule.check(Page(text, "web", identify(text), words(text), "")) is not None for text in texts
        )
        for code, texts in found.items()
    }
    foreign = sum(len(texts) for code, texts in found.items() if code != "en")
    kept = foreign - sum(count for code, count in dropped.items() if code != "en")
    print(f"\nother languages kept: {kept} of {foreign}, {share(kept, foreign)}")
    print(f"English dropped: {dropped['en']} of {len(found['en'])}, {share(dropped['en'], len(found['en']))}")
    which = {code: len(found[code]) - count for code, count in dropped.items() if code != "en"}
    print(
        "kept by language:", ", ".join(f"{code} {count}" for code, count in which.items() if count) or "none"
    )


class _Bayes:
    """Naive Bayes on sequences of one to three characters."""

    def __init__(self, learnt: Passages) -> None:
        from sklearn.feature_extraction.text import HashingVectorizer
        from sklearn.naive_bayes import MultinomialNB

        self._counts = HashingVectorizer(
            analyzer="char_wb", ngram_range=(1, 3), alternate_sign=False, norm=None, n_features=1 << 18
        )
        texts = [(code, text) for code, found in learnt.items() for text in found]
        self._model = MultinomialNB(alpha=0.1).fit(
            self._counts.transform([text for _, text in texts]), [code for code, _ in texts]
        )

    def of(self, texts: Sequence[str]) -> list[str]:
        """The likeliest language of each text."""
        return [str(code) for code in self._model.predict(self._counts.transform(texts))]


if __name__ == "__main__":
    main()
