"""Which language a text is in, by py3langid, whose model comes with the package and is no pickle."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from types import SimpleNamespace
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

SAMPLE = 600
"""Characters that are looked at; more change the answer hardly ever and cost time in proportion."""
_UNLIKELY = 0.001
UNDETERMINED = "und"
"""ISO 639-2 code of a text whose language was not found out."""


class Language(NamedTuple):
    """ISO 639-1 code with the probability the identifier gives it, and the next likely ones with theirs."""

    code: str
    confidence: float
    others: Mapping[str, float] = {}

    def among(self, codes: Collection[str]) -> float:
        """The probability that the text is in one of these languages."""
        likely = {**self.others, self.code: self.confidence}
        return sum(likely.get(code, 0.0) for code in codes)


def identify(text: str) -> Language:
    """The language of a text's beginning; ``und`` when it holds no letter."""
    sample = text[:SAMPLE]
    if not any(map(str.isalpha, sample)):
        return Language(UNDETERMINED, 0.0)
    (code, confidence), *others = _identifier().rank(sample)
    return Language(
        str(code), float(confidence), {str(code): float(p) for code, p in others if p >= _UNLIKELY}
    )


@cache
def _identifier() -> LanguageIdentifier:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    with _unpacked_in_memory():
        return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


@contextmanager
def _unpacked_in_memory() -> Iterator[None]:
    """Keep py3langid from unpacking its model into $TMPDIR: with that full, no document could be read."""
    from py3langid import modelio

    original, modelio.tempfile = modelio.tempfile, SimpleNamespace(TemporaryFile=lambda **_: BytesIO())
    try:
        yield
    finally:
        modelio.tempfile = original
