"""A piece of text that a step of a training read, and where it is from."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks import tables
from tasks.errors import one_line

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_EXCERPT = 120


@dataclass(frozen=True)
class Passage:
    """Part of a document in one window, or one example; ``first`` is its place there, ``excerpt`` its escaped begin."""

    window: int
    document: str
    source: str
    uri: str
    licence: str
    first: int
    tokens: int
    excerpt: str


def excerpt_of(tokenizer: Tokenizer, ids: Sequence[int], *, control_tokens: bool = False) -> str:
    """The beginning of what tokens stand for, in one line that no terminal obeys; with `control_tokens` these too."""
    text = tokenizer.decode(list(ids[:_EXCERPT]), skip_special_tokens=not control_tokens)
    return one_line(" ".join(text.split()), _EXCERPT)


def provenance(table: Path, ids: Collection[str]) -> dict[str, dict[str, Any]]:
    """Where the rows of a table are from, of those that are asked for, by id; the texts are not read."""
    columns = ["id", "source", "uri", "licence"]
    return {row["id"]: row for row in tables.iterate(table, columns) if row["id"] in ids}
