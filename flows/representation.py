"""`unveil representation`: who the text of a run speaks of, and what changed since the corpus before."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks import ledgers
from tasks.contracts_report import visible
from tasks.environment import workspace
from tasks.errors import ConfigError

if TYPE_CHECKING:
    from tasks.representation.corpus import Corpus, Row

Ledger = dict[str, Any]
_ALL = "(all)"


def show(options: argparse.Namespace) -> None:
    """Print the audit of a run, and what changed since another.

    Raises:
        ConfigError: there is no such run, or none with an audit.
    """
    from tasks.representation.corpus import read

    home = workspace()
    run = _named(home, options.run) if options.run else ledgers.newest(home, _audited)
    if run is None or not _audited(run):
        where = run["run_id"] if run else ""
        raise ConfigError(
            "there is no audit yet", where=where, remedy="run `unveil run` up to evaluation first"
        )
    former = _named(home, options.against) if options.against else ledgers.newest(home, _before(run))
    now = read(_artifact(run))
    lines = [f"who the text of run {run['run_id']} ({run['preset']}) speaks of", *_rates(now.rows.values())]
    lines += (
        _since(former, run, now) if former else ["there is no earlier corpus of this preset to compare with"]
    )
    sys.stdout.write("\n".join(map(visible, lines)) + "\n")


def _rates(rows: Iterable[Row]) -> Iterator[str]:
    from tasks.representation.audit import RATE

    for row in rows:
        if row["metric"] == RATE and row["domain"] == _ALL:
            bounds = f" [{row['low']:,.0f}, {row['high']:,.0f}]" if row["low"] is not None else ""
            yield f"  {row['condition']:32} {row['value']:>9,.0f}{bounds} per million words"


def _since(former: Ledger, run: Ledger, now: Corpus) -> Iterator[str]:
    from tasks.representation.compare import compare
    from tasks.representation.corpus import read

    if not _audited(former):
        raise ConfigError("has no audit", where=former["run_id"], remedy="name another run")
    if _corpus(former) == _corpus(run):
        yield f"since run {former['run_id']}: the same corpus"
        return
    before = read(_artifact(former))
    if before.counted_by != now.counted_by:
        yield f"since run {former['run_id']}: counted by other lists of words, and not to be compared"
        return
    found = compare(before, now)
    yield (
        f"since run {former['run_id']}: {found.kept:,} documents kept ({found.altered:,} altered), {found.added:,} "
        f"added, {found.removed:,} removed; {len(found.clear)} of {len(found.changes)} numbers changed more than "
        f"chance allows, which alone would give up to {0.05 * len(found.changes):.0f}"
    )
    for change in found.clear:
        domain = "" if change.domain == _ALL else f" in {change.domain}"
        low, high = change.gap.low or 0.0, change.gap.high or 0.0
        yield (
            f"  {change.metric}, {change.condition}{domain}: {change.before:,.4g} -> {change.now:,.4g} "
            f"({change.gap.value:+,.4g} [{low:+,.4g}, {high:+,.4g}])"
        )


def _before(run: Ledger) -> Any:
    """The newest run before this one, of the same preset, whose corpus was another."""

    def wanted(entry: Ledger) -> bool:
        earlier = entry["run_id"] < run["run_id"] and entry["preset"] == run["preset"]
        return earlier and _audited(entry) and _corpus(entry) != _corpus(run)

    return wanted


def _audited(run: Ledger) -> bool:
    from tasks.representation.corpus import auditable

    stages = run.get("stages", {})
    made = all(stages.get(name, {}).get("artifact") for name in ("cleaning", "evaluation"))
    return made and auditable(_artifact(run))


def _corpus(run: Ledger) -> str:
    return str(run["stages"]["cleaning"]["artifact"])


def _artifact(run: Ledger) -> Path:
    return Path(run["stages"]["evaluation"]["artifact"])


def _named(home: Path, run_id: str) -> Ledger:
    found = ledgers.newest(home, lambda entry: entry.get("run_id") == run_id)
    if found is None:
        raise ConfigError("is no run of this workspace", where=run_id, remedy="see the folders under runs/")
    return found
