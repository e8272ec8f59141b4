"""What becomes of a record when it is read: kept, quarantined because it is broken, or left out by a rule."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

_EXCERPT = 200


@dataclass(frozen=True, slots=True)
class Kept:
    """A good record: where it is from, what it says, and its place if the uri does not tell records apart."""

    uri: str
    values: dict[str, Any]
    place: str = ""


@dataclass(frozen=True, slots=True)
class Bad:
    """A record that cannot be used, with the reason; ``where`` is ``file:line`` for a person to look at."""

    uri: str
    where: str
    rule: str
    reason: str
    excerpt: str = ""
    sha256: str = ""
    value: float = 0.0


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A sound record that the source's own selection leaves out, such as a fuzzy translation."""

    reason: str


Outcome = Kept | Bad | LeftOut
Outcomes = Iterator[Outcome]


@dataclass(slots=True)
class Place:
    """Where a record was found, in the two forms that are needed: for tables and for people."""

    uri: str
    where: str
    raw: bytes = field(default=b"", repr=False)

    def bad(self, rule: str, reason: str, value: float = 0.0) -> Bad:
        """The record at this place, quarantined."""
        digest = hashlib.sha256(self.raw).hexdigest() if self.raw else ""
        return Bad(self.uri, self.where, rule, reason, excerpt(self.raw), digest, value)


def excerpt(raw: bytes) -> str:
    """The beginning of a record that may not be text, made safe to store and to show."""
    return raw[: _EXCERPT * 4].decode("utf-8", "replace").replace("\x00", "\\0")[:_EXCERPT]


def digest(text: str) -> str:
    """Sha256 of a text's UTF-8 bytes."""
    return hashlib.sha256(text.encode()).hexdigest()


def unusable(text: object, max_bytes: int) -> tuple[str, str] | None:
    """Why a value cannot be taken as text: the rule and the reason, or None when it can."""
    if text is None:
        return "null-text", "the text is null"
    if not isinstance(text, str):
        return "not-text", f"the text is of type {type(text).__name__}, not a string"
    if not text.strip():
        return "empty", "the text is empty"
    if "\x00" in text:
        return "nul", "the text has a NUL character"
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return "lone-surrogate", "the text has half of a surrogate pair, which is no character"
    if size > max_bytes:
        return "too-large", f"the text has {size} bytes, more than max_document_bytes ({max_bytes})"
    return None
