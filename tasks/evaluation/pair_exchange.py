"""The words of a pair in a sentence about something else: what remains then is about the words alone.

Every sentence is lent to one pair of another group, and every pair's words stand in one sentence of another
group. The same sentences tell whether the network understands them: does the own word fit better?
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.evaluation.pair_measures import Pair
from tasks.evaluation.pair_scoring import Ids, TokenNats, deltas

Floats = NDArray[np.float64]


class Exchanged(NamedTuple):
    """(N,) in nats over shared tokens; NaN for pairs that cannot take part."""

    fits: Floats  # the stereotypical sentence less itself with a word of another pair
    elsewhere: Floats  # the pair's two words, compared in another pair's sentence


class _Edit(NamedTuple):
    """What was exchanged: places ``start`` to ``more`` of one sentence, ``start`` to ``less`` of the other."""

    start: int
    more: int
    less: int


def exchange(pairs: Sequence[Pair], token_nats: TokenNats, seed: int) -> Exchanged:
    """Lend the sentences of pairs that differ in one run of tokens, with something after it."""
    edits = {place: edit for place, pair in enumerate(pairs) if (edit := edit_of(*pair.ids)) is not None}
    lent = _lent([pair.group for pair in pairs], sorted(edits), seed)
    texts: list[tuple[Ids, Ids]] = []
    for frame, words in lent:
        own, others = pairs[frame].ids[0], pairs[words].ids
        before, after = own[: edits[frame].start], own[edits[frame].more :]
        strange = before + others[0][edits[words].start : edits[words].more] + after
        texts.append((own, strange))
        texts.append((strange, before + others[1][edits[words].start : edits[words].less] + after))
    scores = deltas(token_nats, texts).shared
    found = Exchanged(np.full(len(pairs), np.nan), np.full(len(pairs), np.nan))
    for number, (frame, words) in enumerate(lent):
        found.fits[frame], found.elsewhere[words] = scores[2 * number], scores[2 * number + 1]
    return found


def edit_of(more: Ids, less: Ids) -> _Edit | None:
    """The one run of tokens that was exchanged for another, if neither is empty and something follows."""
    start = next((i for i, (a, b) in enumerate(zip(more, less, strict=False)) if a != b), None)
    if start is None:
        return None
    room = min(len(more), len(less)) - start
    same = next((k for k in range(room) if more[-1 - k] != less[-1 - k]), room)
    edit = _Edit(start, len(more) - same, len(less) - same)
    return edit if same and start < min(edit.more, edit.less) else None


def _lent(groups: Sequence[str], places: list[int], seed: int) -> list[tuple[int, int]]:
    """Sentence and words: at random, each once, never of one group.

    Sorted by group and turned by half, no pair meets its own group unless that has more than half of them.
    """
    shuffled = np.random.default_rng(seed).permutation(places).tolist()
    order = sorted(shuffled, key=lambda place: groups[place])
    turned = order[len(order) // 2 :] + order[: len(order) // 2]
    return [(a, b) for a, b in zip(order, turned, strict=True) if groups[a] != groups[b]]
