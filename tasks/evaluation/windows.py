"""Windows of documents: the same number of tokens everywhere, as something to hold generated text against."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from models.shards import TokenShard


TRAINING_TEXT, TEST_TEXT = "training_text", "test_text"  # what real text is called in records


class Windows(NamedTuple):
    """Tokens of some windows, (n, length), and the row of the document that each is from, (n,)."""

    tokens: NDArray[np.int64]
    rows: NDArray[np.int64]


def draw_windows(shard: TokenShard, length: int, count: int, seed: int) -> Windows:
    """Draw different windows, every place of the text being as likely; fewer where there are not so many.

    A window lies inside one document and holds no separator.
    """
    table = shard.documents
    places = np.maximum(0, table.ends - table.starts - length)  # the separator begins none
    reached = np.cumsum(places)
    total = int(reached[-1]) if len(reached) else 0
    drawn = np.sort(np.random.default_rng(seed).choice(total, min(count, total), replace=False))
    rows = np.searchsorted(reached, drawn, side="right")
    starts = table.starts[rows] + 1 + drawn - (reached - places)[rows]
    tokens = np.asarray(shard.tokens[starts[:, None] + np.arange(length)]).astype(np.int64)
    return Windows(tokens.reshape(len(starts), length), rows)
