"""A piece of text that a step of a training read, and where it is from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks.errors import one_line

if TYPE_CHECKING:
    from tokenizers import Tokenizer

EXCERPT = 120
"""Characters of an excerpt at most."""


@dataclass(frozen=True)
class Passage:
    """Part of a document in a window, or a labelled row's example; ``first`` is its place there, from 0.

    ``excerpt`` is its beginning and ``target`` what a head was to say to it, both escaped for terminals.
    """

    window: int
    document: str
    source: str
    uri: str
    licence: str
    first: int
    tokens: int
    excerpt: str
    target: str = ""


def excerpt_of(tokenizer: Tokenizer, ids: Sequence[int], *, control_tokens: bool = False) -> str:
    """The beginning of what tokens stand for, in one line that no terminal obeys; with `control_tokens` these too."""
    text = tokenizer.decode(list(ids[:EXCERPT]), skip_special_tokens=not control_tokens)
    return one_line(" ".join(text.split()), EXCERPT)
