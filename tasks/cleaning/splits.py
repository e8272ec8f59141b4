"""Who is in train, validation and test: decided by a hash of the content, and so by no list."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from tasks.cleaning.config import SplitConfig
from tasks.errors import DataError

TRAIN, VALIDATION, TEST = "train", "validation", "test"
NAMES = (TRAIN, VALIDATION, TEST)
# A domain with so many documents has some in each split.
ENOUGH = 20


def assign(groups: Iterable[bytes], config: SplitConfig, what: str) -> dict[bytes, str]:
    """The split of each group, a group being what must not be torn apart, named by its content.

    A group's salted hash, read as a number from 0 to 1, is held against the shares. So a group stays where it
    is whatever is added or taken away, where a cut through a ranking would push groups over the edge, from
    test into train, with every addition. The price is that the shares are met only on average; when a small
    set has no group below a share at all, the group with the lowest number fills the gap, and gives its place
    back when one arrives that belongs there.

    Args:
        groups: distinct or not.
        config: shares and salt.
        what: the set's name, for the error.

    Raises:
        DataError: fewer than three groups.
    """
    numbers = {group: _number(group, config.salt) for group in groups}
    if len(numbers) < len(NAMES):
        raise DataError(
            f"{what}: {len(numbers)} distinct texts cannot be split into train, validation and test",
            remedy="give more text",
        )
    ranked = sorted(numbers, key=lambda group: (numbers[group], group))
    splits = {group: _by_share(numbers[group], config) for group in ranked}
    _fill_gaps(splits, ranked)
    return splits


def assign_documents(keys: Sequence[bytes], domains: Sequence[str], config: SplitConfig) -> dict[bytes, str]:
    """The split of each document, with some of every domain of 20 documents and more in each split.

    Args:
        keys: the hash of each document's normalised text; distinct, since copies are gone.
        domains: the domain of each document.
        config: shares and salt.

    Raises:
        DataError: fewer than three documents.
    """
    result = assign(keys, config, "documents")
    members: dict[str, list[bytes]] = {}
    for key, domain in zip(keys, domains, strict=True):
        members.setdefault(domain, []).append(key)
    large = {domain: found for domain, found in members.items() if len(found) >= ENOUGH}
    for found in large.values():
        result.update(assign(found, config, "documents"))
    return result


def counts(splits: Collection[str]) -> dict[str, int]:
    """How many rows are in each split; all three names are there."""
    found = Counter(splits)
    return {name: found[name] for name in NAMES}


def _fill_gaps(splits: dict[bytes, str], ranked: Sequence[bytes]) -> None:
    """Give each split a group: the lowest of train to a held-out one, the highest of those to train."""
    for wanted, order in ((VALIDATION, ranked), (TEST, ranked), (TRAIN, ranked[::-1])):
        if wanted in splits.values():
            continue
        sizes = Counter(splits.values())
        spare = [group for group in order if sizes[splits[group]] > 1]
        from_train = [group for group in spare if splits[group] == TRAIN]
        splits[(from_train or spare)[0]] = wanted


def _by_share(number: float, config: SplitConfig) -> str:
    if number < config.validation:
        return VALIDATION
    return TEST if number < config.validation + config.test else TRAIN


def _number(group: bytes, salt: str) -> float:
    digest = hashlib.blake2b(salt.encode() + b"\0" + group, digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
