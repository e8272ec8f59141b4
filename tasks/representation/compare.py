"""What changed between the audits of two corpora: every number, its difference, and where that comes from.

Two versions of a corpus share most of their documents, so intervals of independent ones would be far too wide: what
both hold cancels. Documents are therefore matched by id, and drawn anew in pairs: a drawing takes a document as it is
in both corpora, with nothing in the one that lacks it, and takes both numbers of it (Koehn 2004; Miller 2024,
arXiv:2411.00640). Where nothing is shared this is the interval of independent corpora. It says how far the difference
would move had other documents of the same kind been kept, added and removed.

Of what happens never, or always, no drawing says what might have happened. Where a number is so in one of the corpora,
the interval is that of independent ones, from the audits' own (rule of three).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.evaluation.bootstrap import drawn_sums, interval
from tasks.evaluation.clustered import Mean, difference
from tasks.representation.audit import MILLION, RATE
from tasks.representation.corpus import Corpus, Floats, Key, Row
from tasks.representation.tallies import Integers

SAMPLES = 2000
_AT_A_TIME = 32  # numbers whose documents are in memory as columns


class Change(NamedTuple):
    """One number in the corpus before and now; ``gap`` is the difference with its 95 % interval.

    ``added`` and ``removed`` are the number in the documents that only one of the corpora has; None where they
    say nothing to it.
    """

    metric: str
    condition: str
    domain: str
    before: float
    now: float
    gap: Mean
    added: float | None
    removed: float | None

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out zero."""
        return (
            self.gap.low is not None and self.gap.high is not None and (self.gap.low > 0 or self.gap.high < 0)
        )


class Comparison(NamedTuple):
    """Two corpora: documents they share, that came and that went, and every number that both have."""

    kept: int
    altered: int  # of the kept ones, those that say something else than before
    added: int
    removed: int
    words_before: int
    words_now: int
    changes: list[Change]

    @property
    def clear(self) -> list[Change]:
        """The numbers that changed more than chance explains, the surest first."""
        return sorted((change for change in self.changes if change.clear), key=_doubt)


def compare(before: Corpus, now: Corpus, *, samples: int = SAMPLES, seed: int = 0) -> Comparison:
    """Every number that both audits tell, held against each other document by document.

    Raises:
        ValueError: they were counted by other lists of words, or another window.
    """
    if before.counted_by != now.counted_by:
        raise ValueError("it was counted by other lists of words, or with another window")
    pair = _Pair(before, now)
    keys = [key for key in now.rows if key in before.rows]
    changes = []
    for start in range(0, len(keys), _AT_A_TIME):
        changes += pair.changes(keys[start : start + _AT_A_TIME], samples, seed)
    shared = pair.in_before & pair.in_now
    return Comparison(
        kept=int(shared.sum()),
        altered=int((shared & pair.altered).sum()),
        added=int((~pair.in_before).sum()),
        removed=int((~pair.in_now).sum()),
        words_before=int(before.words.sum()),
        words_now=int(now.words.sum()),
        changes=changes,
    )


class _Pair:
    """Both corpora over the documents of either."""

    def __init__(self, before: Corpus, now: Corpus) -> None:
        self._before, self._now = before, now
        places = {name: place for place, name in enumerate(dict.fromkeys([*before.ids, *now.ids]))}
        self._at_before = np.array([places[name] for name in before.ids], dtype=np.int64)
        self._at_now = np.array([places[name] for name in now.ids], dtype=np.int64)
        self.in_before, self.in_now = (np.zeros(len(places), dtype=bool) for _ in range(2))
        self.in_before[self._at_before] = True
        self.in_now[self._at_now] = True

    @cached_property
    def altered(self) -> NDArray[np.bool_]:
        """Documents of which a count differs."""
        old, new = (self._over(corpus.words, at) for corpus, at in self._sides())
        found: NDArray[np.bool_] = old != new
        for name in self._before.counts.keys() | self._now.counts.keys():
            old, new = (self._over(c.of(*name), at) for c, at in self._sides())
            found |= old != new
        return found

    def _sides(self) -> Iterator[tuple[Corpus, Integers]]:
        yield self._before, self._at_before
        yield self._now, self._at_now

    def changes(self, keys: Sequence[Key], samples: int, seed: int) -> list[Change]:
        """Some of the numbers, all judged on the same drawings."""
        columns = np.stack([part for key in keys for part in self._parts(key)], axis=1)
        sums = drawn_sums(columns, samples, seed)
        return [
            self._change(key, columns[:, at : at + 4], sums[:, at : at + 4])
            for at, key in zip(range(0, 4 * len(keys), 4), keys, strict=True)
        ]

    def _parts(self, key: Key) -> list[Floats]:
        """Above and below the line before, above and below it now."""
        return [self._over(part, at) for corpus, at in self._sides() for part in corpus.parts(key)]

    def _over(self, values: Floats, places: Integers) -> Floats:
        spread = np.zeros(len(self.in_before))
        spread[places] = values
        return spread

    def _change(self, key: Key, parts: Floats, sums: Floats) -> Change:
        scale = MILLION if key[0] == RATE else 1.0
        old, new = self._before.rows[key], self._now.rows[key]
        came, went = ~self.in_before, ~self.in_now
        return Change(
            *key,
            before=old["value"],
            now=new["value"],
            gap=_gap(old, new, parts, sums, scale),
            added=_ratio(parts[came, 2].sum(), parts[came, 3].sum(), scale),
            removed=_ratio(parts[went, 0].sum(), parts[went, 1].sum(), scale),
        )


def _gap(old: Row, new: Row, parts: Floats, sums: Floats, scale: float) -> Mean:
    value, speaking = new["value"] - old["value"], int((parts[:, 1] + parts[:, 3] > 0).sum())
    if (parts[:, :2] == parts[:, 2:]).all():
        return Mean(0.0, 0.0, 0.0, speaking)
    hits_before, all_before, hits_now, all_now = parts.sum(axis=0)
    if hits_before in (0.0, all_before) or hits_now in (0.0, all_now):
        return difference(_mean(new), _mean(old))
    if speaking == 1:
        return Mean(value, None, None, 1)
    with np.errstate(invalid="ignore"):
        low, high = interval(scale * (sums[:, 2] / sums[:, 3] - sums[:, 0] / sums[:, 1]))
    return Mean(value, low, high, speaking)


def _ratio(part: float, whole: float, scale: float) -> float | None:
    return float(scale * part / whole) if whole else None


def _mean(row: Row) -> Mean:
    return Mean(row["value"], row["low"], row["high"], row["n"])


def _doubt(change: Change) -> float:
    """Half the interval's width over the difference: the smaller, the surer."""
    low, high = change.gap.low or 0.0, change.gap.high or 0.0
    return (high - low) / abs(change.gap.value) if change.gap.value else float("inf")
