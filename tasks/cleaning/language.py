"""Which language a text is in, by py3langid, whose model comes with the package and is no pickle."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

SAMPLE = 600
"""Characters that are looked at; more change the answer hardly ever and cost time in proportion."""
UNDETERMINED = "und"
"""ISO 639-2 code of a text whose language was not found out."""


class Language(NamedTuple):
    """ISO 639-1 code and the probability the identifier gives it."""

    code: str
    confidence: float


def identify(text: str) -> Language:
    """The language of a text's beginning; ``und`` when it holds no letter."""
    sample = text[:SAMPLE]
    if not any(map(str.isalpha, sample)):
        return Language(UNDETERMINED, 0.0)
    code, confidence = _identifier().classify(sample)
    return Language(str(code), float(confidence))


@cache
def _identifier() -> LanguageIdentifier:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
