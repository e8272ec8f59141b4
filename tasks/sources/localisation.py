"""English messages and their translations, from the localisation catalogues that packages ship."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

from tasks.sources.archives import members
from tasks.sources.labelled_config import TranslationPackage
from tasks.sources.outcomes import Bad, Kept, LeftOut, Outcome, Outcomes
from tasks.sources.readers import decoded, uri_of

_FUZZY, _UNTRANSLATED = LeftOut("fuzzy"), LeftOut("not translated")


def pairs(source: TranslationPackage, path: Path) -> Outcomes:
    """Distinct pairs of an English message and its translation, as the catalogues have them, markup included.

    Left out, and counted: fuzzy and missing translations, copies of the original, messages outside the
    configured number of words, repetitions. Of a message with plural forms the singular is taken.
    """
    read = _gettext if source.reader == "gettext" else _jupyterlab
    seen: set[tuple[str, str]] = set()
    for member, data in members(path, source.members):
        text = decoded(source, member, data)
        if isinstance(text, Bad):
            yield text
            continue
        for key, pair in read(member, text):
            yield (
                pair
                if isinstance(pair, LeftOut)
                else _selected(source, uri_of(source, member, key), pair, seen)
            )


def _selected(
    source: TranslationPackage, uri: str, pair: tuple[str, str], seen: set[tuple[str, str]]
) -> Outcome:
    original, translation = pair[0].strip(), pair[1].strip()
    words = len(original.split())
    if not translation:
        return _UNTRANSLATED
    if not source.min_words <= words <= source.max_words:
        return LeftOut(f"not {source.min_words} to {source.max_words} words")
    if original == translation:
        return LeftOut("translation is a copy")
    if (original, translation) in seen:
        return LeftOut("repetition")
    seen.add((original, translation))
    return Kept(uri, {"source_text": original, "target_text": translation})


def _gettext(member: str, text: str) -> Iterator[tuple[str, tuple[str, str] | LeftOut]]:
    from babel.messages.catalog import Catalog
    from babel.messages.pofile import PoFileParser

    malformed = 0

    class Parser(PoFileParser):
        """Counts the entries it cannot parse, where babel would print a warning for each."""

        def _invalid_pofile(self, line: str, lineno: int, msg: str) -> None:
            nonlocal malformed
            malformed += 1

    catalog = Catalog()
    Parser(catalog).parse(io.StringIO(text))
    for message in catalog:
        if not message.id:
            continue
        yield _entry(message.lineno, message.id, message.string, message.fuzzy)
    for _ in range(malformed):
        yield "", LeftOut("malformed entry")


def _entry(
    line: int | None, message: object, string: object, fuzzy: bool
) -> tuple[str, tuple[str, str] | LeftOut]:
    original = message[0] if isinstance(message, list | tuple) else message
    translation = string[0] if isinstance(string, list | tuple) else string
    if fuzzy:
        return "", _FUZZY
    return f"L{line}", (str(original), str(translation or ""))


def _jupyterlab(member: str, text: str) -> Iterator[tuple[str, tuple[str, str] | LeftOut]]:
    r"""JupyterLab's form: ``{message: [singular, plural]}``, a context before the message and ``\x04``."""
    for number, (key, translations) in enumerate(json.loads(text).items()):
        if key:
            yield str(number), (key.rpartition("\x04")[2], translations[0] if translations else "")
