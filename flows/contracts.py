"""`unveil contracts`: what the data contracts found in a run, and what changed since another."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks import contracts_diff, ledgers
from tasks.contracts_report import ContractResult, visible
from tasks.environment import workspace
from tasks.errors import ConfigError

Ledger = dict[str, Any]


def show(options: argparse.Namespace) -> None:
    """Print the verdicts of a run, and every difference from another run.

    Raises:
        ConfigError: there is no such run, or none with a contract.
    """
    home = workspace()
    run = _named(home, options.run) if options.run else _newest(home, "")
    former = _named(home, options.against) if options.against else _newest(home, run["run_id"])
    now = _verdicts(run)
    if not now:
        remedy = "name a run that got as far as the data"
        raise ConfigError("has no verdict of a contract", where=run["run_id"], remedy=remedy)
    lines = [f"contracts of run {run['run_id']} ({run['preset']})", *_counts(now)]
    if former:
        lines += _changes(former["run_id"], contracts_diff.compare(_verdicts(former), now))
    else:
        lines.append("there is no earlier run of this preset to compare with")
    sys.stdout.write("\n".join(map(visible, lines)) + "\n")


def _counts(verdicts: dict[str, ContractResult]) -> Iterator[str]:
    for name, result in sorted(verdicts.items()):
        met = sum(entry.success for entry in result.results)
        yield f"  {name:38} {met} of {len(result.results)} expectations met by {result.rows:,} rows"


def _changes(former: str, changes: list[contracts_diff.Change]) -> Iterator[str]:
    yield f"since run {former}: " + (f"{len(changes)} changes" if changes else "nothing changed")
    for change in changes:
        yield f"  {change.kind:13} {change.about}: {change.before or 'none'} -> {change.now or 'none'}"


def _verdicts(run: Ledger) -> dict[str, ContractResult]:
    """Verdicts of all stages; a name tells the stage as well, since two stages may use one suite."""
    found: dict[str, ContractResult] = {}
    for stage, entry in run.get("stages", {}).items():
        if entry.get("artifact") and Path(entry["artifact"]).is_dir():
            found |= {
                f"{stage}/{name}": r for name, r in contracts_diff.read(Path(entry["artifact"])).items()
            }
    return found


def _named(home: Path, run_id: str) -> Ledger:
    found = ledgers.newest(home, lambda entry: entry.get("run_id") == run_id)
    if found is None:
        raise ConfigError("is no run of this workspace", where=run_id, remedy="see the folders under runs/")
    return found


def _newest(home: Path, but: str) -> Ledger:
    """The newest run that has verdicts; with ``but``, the one before that run, of the same preset."""
    this = _named(home, but) if but else None

    def wanted(entry: Ledger) -> bool:
        if this and (entry["run_id"] >= but or entry["preset"] != this["preset"]):
            return False
        return bool(_verdicts(entry))

    found = ledgers.newest(home, wanted)
    if found is None and not but:
        raise ConfigError("there is no run with contracts yet", remedy="run `unveil run` first")
    return found or {}
