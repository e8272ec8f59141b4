"""Why a stage has to be computed: which part of its key differs from that of the artefact before."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.artifacts import MANIFEST, Artifact, Store
from tasks.canonical import canonical_json, fingerprint_of
from tasks.errors import ArtifactError

# Parts that hold digests: the new value tells a reader nothing.
_DIGESTS = ("inputs.", "observed.", "code.", "contracts.")
_LONGEST = 60
_LISTED = 6  # differences that are told; a corpus may have lost thousands of files


def why(store: Store, stage: str, name: str, key: Mapping[str, Any], former: str | None) -> str:
    """Which parts of the key differ from the newest artefact of the same name.

    Args:
        store: where the artefacts are.
        stage: the stage's name.
        name: the artefact's name, without its fingerprint.
        key: the key that has no artefact.
        former: fingerprint that the run before recorded for this stage.
    """
    if former == fingerprint_of(key):
        return "its artefact is gone"
    before = newest(store, stage, name)
    if before is None:
        return "never built"
    try:
        known = Artifact(stage=stage, fingerprint="", content="", path=before).manifest().key
    except ArtifactError:
        return "the former artefact cannot be read"
    return _told(differences(known, key)) or "never built"


def whatever_observed(store: Store, stage: str, name: str, constant: Mapping[str, Any]) -> str:
    """Why a stage has to be computed whatever is observed; empty where an artefact may still fit.

    Args:
        store: where the artefacts are.
        stage: the stage's name.
        name: the artefact's name, without its fingerprint.
        constant: the key without what is observed.
    """
    told = "never built"
    for folder in published(store, stage, name):
        try:
            known = Artifact(stage=stage, fingerprint="", content="", path=folder).manifest().key
        except ArtifactError:
            continue
        found = differences({**known, "observed": {}}, {**constant, "observed": {}})
        if not found:
            return ""
        told = _told(found)
    return told


def newest(store: Store, stage: str, name: str) -> Path | None:
    """The folder of the artefact of this name that was published last, unverified."""
    folders = published(store, stage, name)
    return folders[-1] if folders else None


def published(store: Store, stage: str, name: str) -> list[Path]:
    """The folders of all artefacts of this name in the order in which they were published, unverified."""
    folders = [path.parent for path in (store.root / stage).glob("[!.]*/" + MANIFEST)]
    folders = [folder for folder in folders if folder.name.rpartition("-")[0] == name]
    return sorted(folders, key=lambda folder: ((folder / MANIFEST).stat().st_mtime_ns, folder.name))


def differences(former: Mapping[str, Any], key: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Readable differences between two keys, such as ``config.vocab_size 4096 -> 8192``."""
    found = []
    for name in sorted(former.keys() | key.keys()):
        old, new = former.get(name), key.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += differences(old, new, f"{prefix}{name}.")
        elif canonical_json(old) != canonical_json(new):
            known = name in former and name in key
            change = (
                f"{_short(old)} -> {_short(new)}"
                if known
                else "is new"
                if name in key
                else "is no longer part"
            )
            found.append(f"{prefix}{name} {'changed' if known and prefix.startswith(_DIGESTS) else change}")
    return found


def _told(found: list[str]) -> str:
    more = [f"and {len(found) - _LISTED} more differences"] if len(found) > _LISTED + 1 else []
    return "; ".join([*(found[:_LISTED] if more else found), *more])


def _short(value: Any) -> str:
    text = canonical_json(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
