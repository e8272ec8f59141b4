"""Which documents a training step read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.shards import DocumentTable, TokenShard


def documents_of(shard: TokenShard, windows: NDArray[np.int64], context_length: int) -> list[list[str]]:
    """For every window the ids of the documents it touches, in the order they are read.

    Args:
        shard: where the windows lie.
        windows: offset of each window's first token, as `WindowSampler.windows_of` tells.
        context_length: T; a window is T + 1 tokens, the last of them a target only. One that begins near the
            end of the shard goes on at its beginning.
    """
    return [_touched(shard.documents, int(first), context_length + 1, len(shard)) for first in windows]


def _touched(documents: DocumentTable, first: int, tokens: int, length: int) -> list[str]:
    here = _between(documents, first, min(first + tokens, length))
    wrapped = _between(documents, 0, max(0, first + tokens - length))
    return list(dict.fromkeys([*here, *wrapped]))


def _between(documents: DocumentTable, start: int, end: int) -> tuple[str, ...]:
    """Documents with a token in [start, end); the table is in the order of the tokens."""
    first = int(np.searchsorted(documents.ends, start, side="right"))
    last = int(np.searchsorted(documents.starts, end, side="left"))
    return documents.ids[first:last]
