"""Which checkpoints stay, and the pointer to the newest. Nothing goes before something newer was verified."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from models.checkpoint_files import (
    CheckpointError,
    checkpoint_path,
    discard,
    newest_first,
    read_manifest,
    sync,
    temporary_beside,
)

KEPT = 2
LATEST = "LATEST"

logger = logging.getLogger(__name__)


def retain(folder: Path, is_valid: Callable[[Path], bool]) -> None:
    """Keep the newest `KEPT` valid checkpoints and the best by validation; let older ones go.

    A damaged one does not count as kept. One that is newer than those stays, for the user to look at.
    """
    best, kept = best_by_validation(folder), 0
    for path in newest_first(folder):
        if kept < KEPT:
            kept += is_valid(path)
        elif path != best:
            discard(path)


def best_by_validation(folder: Path) -> Path | None:
    """The checkpoint with the lowest validation loss, the newer of two equals; None where none was measured."""
    scores: list[tuple[float, Path]] = []
    for path in newest_first(folder):
        try:
            score = read_manifest(path).get("validation_loss")
        except CheckpointError:
            continue
        if score is not None:
            scores.append((float(score), path))
    return min(scores, key=lambda pair: pair[0])[1] if scores else None


def point_to(target: Path) -> None:
    """Replace `LATEST` by the name of `target`. It is a hint for people and scripts: the manifests decide."""
    pointer = target.parent / LATEST
    temporary = temporary_beside(pointer)
    try:
        temporary.write_text(target.name + "\n", encoding="utf-8")
        sync(temporary)
        temporary.replace(pointer)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(target.parent)


def warn_of_missing(folder: Path) -> None:
    """Say loudly when the checkpoint that was published last is gone: somebody removed it, or the disk lost it."""
    try:
        name = (folder / LATEST).read_text(encoding="utf-8").strip()
        missing = not (folder / name).is_dir() and folder / name == checkpoint_path(folder, _step(name))
    except (OSError, ValueError):
        return
    if missing:
        logger.warning("%s: the newest checkpoint, %s, is not there any more", folder, name)


def _step(name: str) -> int:
    return int(name.rpartition("-")[2])
