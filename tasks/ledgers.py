"""The ledgers of a workspace: what each run did, stage by stage, in ``runs/<run-id>/run.json``.

They are the project's own memory, independent of Prefect and MLflow: written whole after every stage, with
``runs/latest`` pointing at the newest.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.canonical import plain
from tasks.durable import replace_atomically
from tasks.shortage import storage_error

LEDGER = "run.json"
LATEST = "latest"
_RECENT = 50
_TIME_DIGITS = 15  # the ids begin with a time in whole seconds


def read_ledger(path: Path) -> dict[str, Any]:
    """Read a ``run.json``; one that cannot be read counts as empty: it is written atomically or not ours."""
    try:
        entry = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return entry if isinstance(entry, dict) else {}


def write_ledger(path: Path, entry: dict[str, Any]) -> None:
    """Put a ``run.json`` on the disk, whole or not at all.

    Raises:
        UnveilError: there is no room for it, or nobody may write there.
        OSError: it cannot be written for another reason.
    """
    # Lone surrogates, as in a file name that is not UTF-8, are written as escapes.
    text = json.dumps(plain(entry), indent=1, ensure_ascii=False, allow_nan=False)
    try:
        replace_atomically(path, text.encode("utf-8", "backslashreplace").decode())
    except OSError as error:
        raise storage_error(error, "", path) or error from error


def folders(home: Path) -> list[Path]:
    """Every run's folder. `latest`, and the link that is about to become it, are other names for one of them."""
    return [path for path in sorted((home / "runs").glob("[!.]*")) if path.name != LATEST]


def newest(home: Path, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any] | None:
    """The ledger of the newest run that is as wanted."""
    entries = (read_ledger(folder / LEDGER) for folder in _newest_first(home))
    return next((entry for entry in entries if entry and wanted(entry)), None)


def former_fingerprint(home: Path, run_id: str, stage: str) -> str | None:
    """What the newest of the recent runs before this one recorded as a stage's fingerprint."""
    others = [folder for folder in _newest_first(home) if folder.name != run_id]
    for folder in others[:_RECENT]:
        entry = read_ledger(folder / LEDGER).get("stages", {}).get(stage, {})
        if entry.get("fingerprint"):
            return str(entry["fingerprint"])
    return None


def _newest_first(home: Path) -> list[Path]:
    return sorted(
        folders(home), key=lambda path: (path.name[:_TIME_DIGITS], path.stat().st_mtime_ns), reverse=True
    )
