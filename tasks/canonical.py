"""One text for one value: what fingerprints, manifests and ledgers are written in."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any


def fingerprint_of(key: Mapping[str, Any]) -> str:
    """Sha256 of a key: equal keys give equal fingerprints, whatever the order of their entries."""
    return hashlib.sha256(canonical_json(key).encode()).hexdigest()


def canonical_json(value: Any, indent: int | None = None) -> str:
    """JSON with sorted keys, so that equal values have equal text.

    Numbers that JSON does not have become the words ``nan``, ``inf`` and ``-inf``.

    Raises:
        TypeError: for a value without one plain form; its text might differ from process to process.
    """
    text = json.dumps(plain(value), sort_keys=True, ensure_ascii=False, allow_nan=False, indent=indent)
    # A lone surrogate, as in a file name that is not UTF-8, becomes its JSON escape.
    return text.encode("utf-8", "backslashreplace").decode()


def plain(value: Any) -> Any:
    """A value as JSON can hold it: numbers spelled out where JSON has none, sets sorted, paths as text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((plain(item) for item in value), key=lambda item: json.dumps(item, sort_keys=True))
    return str(value) if isinstance(value, PurePath) else value
