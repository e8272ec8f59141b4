"""Words, word n-grams as 64-bit integers, and MinHash signatures of them: what copies are recognised by."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from tasks.cleaning.config import NearDuplicates

Hashes = npt.NDArray[np.uint64]

_WORD = re.compile(r"\w+")
_VOCABULARY_LIMIT = 1_000_000
_BLOCK = 4_096
_FACTOR = 0x9E3779B97F4A7C15  # odd; the golden ratio in 64 bits, as in Knuth's multiplicative hashing


def words(text: str) -> list[str]:
    """The words of a text as copies are compared by: case and punctuation do not count."""
    return _WORD.findall(text.casefold())


def normalised(text: str, tokens: Sequence[str] | None = None) -> str:
    """The text that exact copies share: its words with single spaces, or the bare text when it has none."""
    return " ".join(words(text) if tokens is None else tokens) or text.strip()


def text_key(text: str, tokens: Sequence[str] | None = None) -> bytes:
    """128-bit hash of the normalised text; ``tokens`` are its words when they are known already."""
    return hashlib.blake2b(normalised(text, tokens).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def word_hashes(text: str, tokens: Sequence[str]) -> Hashes:
    """64-bit hash of each word in turn; a text without words is taken for one word, so that none is empty."""
    return _WORDS.of(tokens or [text])


def ngrams(hashed: Hashes, n: int) -> Hashes:
    """64-bit hashes of the n-grams of some words, in their order; fewer than n words are one n-gram.

    Two different n-grams share a hash with probability 2**-64.

    Args:
        hashed: from `word_hashes`; at least one.
        n: words of an n-gram.
    """
    size = min(n, len(hashed))
    with np.errstate(over="ignore"):
        result = np.full(len(hashed) - size + 1, size, np.uint64)
        for offset in range(size):
            result = _mixed(result * np.uint64(_FACTOR) + hashed[offset : offset + len(result)])
    return result


def distinct(values: Hashes) -> Hashes:
    """The different values, sorted; numpy's own ``unique`` hashes them one by one, ten times slower."""
    values = np.sort(values)
    return values[np.concatenate(([True], values[1:] != values[:-1]))] if len(values) else values


def jaccard(left: Hashes, right: Hashes) -> float:
    """Share of the n-grams of either text that both have."""
    common = len(np.intersect1d(left, right, assume_unique=True))
    return common / (len(left) + len(right) - common)


class Fingerprints:
    """MinHash signatures in memory, and the n-grams themselves in a file, for texts of any length.

    The n-grams are needed only to verify the few pairs whose signatures are alike, and they take as much room
    as the texts; the file is removed on exit. A text costs 4 bytes of memory per permutation.

    The permutations are ``a * x + b`` modulo 2**64 with odd ``a``, of which the upper half is kept. They are
    fixed and computed here: datasketch takes Python integers one by one, and its values changed between its
    versions 1 and 2, which would change what is dropped.
    """

    def __init__(self, settings: NearDuplicates, file: Path) -> None:
        self.settings, self._path = settings, file
        self._file = file.open("wb")
        self._offsets = [0]
        self._rows: list[npt.NDArray[np.uint32]] = []

    def __enter__(self) -> Fingerprints:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, hashed: Hashes) -> None:
        """Take in one more text by its `word_hashes`."""
        hashes = distinct(ngrams(hashed, self.settings.shingle_words))
        self._file.write(hashes.tobytes())
        self._offsets.append(self._offsets[-1] + len(hashes))
        self._rows.append(signature(hashes, self.settings.permutations))

    def signatures(self) -> npt.NDArray[np.uint32]:
        """All signatures, one row for each text."""
        return np.stack(self._rows) if self._rows else np.zeros((0, self.settings.permutations), np.uint32)

    def shingles(self, row: int) -> Hashes:
        """The distinct n-grams of one text, sorted."""
        self._file.flush()
        start, end = self._offsets[row], self._offsets[row + 1]
        return np.fromfile(self._path, np.uint64, count=end - start, offset=start * 8)


def signature(hashes: Hashes, permutations: int) -> npt.NDArray[np.uint32]:
    """MinHash of a set of n-grams: for each permutation the smallest value it gives to any of them."""
    factors, terms = _permutations(permutations)
    smallest = np.full(permutations, np.iinfo(np.uint64).max, np.uint64)
    with np.errstate(over="ignore"):
        for start in range(0, len(hashes), _BLOCK):
            values = hashes[start : start + _BLOCK, None] * factors + terms
            np.minimum(smallest, values.min(axis=0), out=smallest)
    return (smallest >> np.uint64(32)).astype(np.uint32)


@cache
def _permutations(count: int) -> tuple[Hashes, Hashes]:
    steps = np.arange(1, 2 * count + 1, dtype=np.uint64)
    with np.errstate(over="ignore"):
        drawn = _mixed(steps * np.uint64(_FACTOR))
    return drawn[:count] | np.uint64(1), drawn[count:]


def _mixed(values: Hashes) -> Hashes:
    """The finaliser of splitmix64: every input bit changes every output bit with probability 1/2."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


class _WordHashes(dict[str, int]):
    """64-bit hash of each word seen, forgotten when a hostile text would make it grow without bound."""

    def __missing__(self, word: str) -> int:
        if len(self) >= _VOCABULARY_LIMIT:
            self.clear()
        digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        value = self[word] = int.from_bytes(digest, "little")
        return value

    def of(self, tokens: Sequence[str]) -> Hashes:
        return np.fromiter((self[token] for token in tokens), np.uint64, len(tokens))


_WORDS = _WordHashes()
