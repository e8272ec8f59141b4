"""Names and addresses as MLflow takes them and as people may see them."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import Any


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested mappings, and of lists of them, under dotted names."""
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from flatten(value, f"{name}.")
        elif isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
            for index, item in enumerate(value):
                yield from flatten(item if isinstance(item, Mapping) else {"value": item}, f"{name}.{index}.")
        else:
            yield name, value


def safe_name(text: str) -> str:
    """A name MLflow takes: letters, digits and ``_-. /``, and no path that leads elsewhere."""
    name = re.sub(r"[^\w\-./ ]", "_", text)[:250] or "_"
    plain = posixpath.normpath(name) == name and not name.startswith((".", "/"))
    return name if plain else name.replace("/", "_").replace("..", "_").lstrip(".") or "_"


def without_credentials(uri: str) -> str:
    """An address fit to be shown: a password may hold any character, so all before the last ``@`` goes."""
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme.startswith(("sqlite", "file")):
        return uri
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"
