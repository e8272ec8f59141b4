"""Which documents a window of training tokens holds: windows are a pure function of the step, documents of places."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.shards import TokenShard


class Piece(NamedTuple):
    """The part of a document that lies in a window. Places count tokens; ends are exclusive."""

    document: int  # row of the shard's table of documents
    first: int  # place in the window
    start: int  # place in the shard
    tokens: int


def documents_of(shard: TokenShard, windows: NDArray[np.int64], context_length: int) -> list[list[str]]:
    """Ids of the documents that each window touches, in reading order.

    Args:
        shard: what the windows are cut from.
        windows: offset of each window's first token, as `WindowSampler.windows_of` tells them.
        context_length: tokens of a window; one more is read as the last target, past the end from the start.
    """
    ids = shard.documents.ids
    return [
        list(dict.fromkeys(ids[piece.document] for piece in pieces_of(shard, int(window), context_length)))
        for window in windows
    ]


def pieces_of(shard: TokenShard, window: int, context_length: int) -> Iterator[Piece]:
    """Cut the window that begins at token `window`, and its last target, at the borders of documents."""
    table, place, done, length = shard.documents, window % len(shard), 0, context_length + 1
    while done < length:
        row = int(np.searchsorted(table.starts, place, side="right")) - 1
        tokens = min(int(table.ends[row]) - place, length - done)
        yield Piece(row, done, place, tokens)
        done += tokens
        place = (place + tokens) % len(shard)
