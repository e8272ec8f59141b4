"""What a person reads on the terminal: plain log lines, the state of the stages, where to look after a run."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tasks.errors import one_line
from tasks.runs import Inspection

# What the verdict of a promotion is to whoever started the run.
EXIT_CODES = {"promote": 0, "champion": 0, "inconclusive": 3, "refuse": 4}


def set_up(*, debug: bool) -> None:
    """Log our own lines to stderr. Prefect's console, which prints a traceback for every error, only speaks in debug.

    Must run before Prefect is imported.
    """
    if not debug:
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine("%(asctime)s %(message)s", "%H:%M:%S"))
    for name in ("flows", "tasks", "models"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.DEBUG if debug else logging.INFO)
        logger.handlers = [handler]


class _OneLine(logging.Formatter):
    """One record per line, whatever the data in it: a newline in a document cannot forge a log entry."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the base class's name
        """Format and make control characters visible; a traceback keeps its lines."""
        return one_line(super().formatMessage(record))


def show_status(found: Iterable[Inspection], preset: str, config: dict[str, Any], *, as_json: bool) -> None:
    """Print the state of every stage."""
    if as_json:
        stages = {
            item.stage: {
                "fresh": item.fresh,
                "why": item.why,
                "artifact": str(item.artifact.path) if item.artifact else None,
                "fingerprint": item.artifact.fingerprint if item.artifact else None,
            }
            for item in found
        }
        sys.stdout.write(json.dumps({"preset": preset, "stages": stages, "config": config}, indent=1) + "\n")
        return
    for item in found:
        mark = {True: "fresh  ", False: "rebuild", None: "unknown"}[item.fresh]
        sys.stdout.write(
            f"{item.stage:<29} {mark}  {'' if item.fresh else one_line(item.why, 200)}".rstrip() + "\n"
        )


def end_run(ledger: dict[str, Any], home: Path) -> int:
    """Say where a run's results are and how its model competed; returns the exit code of that verdict."""
    say_where(ledger, home)
    promotion = ledger["notes"].get("promotion")
    code = EXIT_CODES[promotion["verdict"]] if promotion else 0
    if code:
        sys.stderr.write(f"unveil: promotion: {promotion['verdict']}: {one_line(promotion['summary'])}\n")
    return code


def say_where(ledger: dict[str, Any], home: Path) -> None:
    """End a run by saying where its results are and what to try next."""
    stages = ledger["stages"]
    lines = [f"Run {ledger['run_id']} completed: {_told(stages)}."]
    if "pretraining" in stages:
        lines.append(f"  model     {_near(stages['pretraining']['artifact'])}")
    if "reporting" in stages:
        lines.append(f"  report    {_near(stages['reporting']['artifact'])}/report.html")
    promotion = ledger["notes"].get("promotion")
    if promotion:
        lines.append(f"  promotion {promotion['verdict']}: {one_line(promotion['summary'], 300)}")
    mlflow = ledger["mlflow"]
    lines.append(
        f"  MLflow    {mlflow['tracking_uri']}, experiment {mlflow['experiment']}, run {mlflow['parent_run_id']}"
    )
    flow_run = ledger["prefect"]["flow_run_id"]
    lines.append(
        f"  Prefect   {os.environ.get('PREFECT_API_URL', _near(home / 'prefect'))}, flow run {flow_run}"
    )
    lines += ["Try next:", *(f"  {_near(Path(sys.argv[0]))} {what}" for what in _next_steps(ledger))]
    sys.stdout.write("\n".join(lines) + "\n")


def _next_steps(ledger: dict[str, Any]) -> list[str]:
    """Commands that work on what this run made: one that stopped early made no model to talk to."""
    needs = {
        'generate "The king said" --show-steps': "pretraining",
        'explain "I loved every minute of it" --task sentiment': "finetuning-sentiment",
    }
    possible = [command for command, stage in needs.items() if stage in ledger["stages"]]
    return [*possible, f"status --preset {ledger['preset']}", "ui"]


def _told(stages: dict[str, Any]) -> str:
    cached = sum(bool(entry["cached"]) for entry in stages.values())
    computed = len(stages) - cached
    return f"{computed} of {len(stages)} stages computed, {cached} unchanged"


def _near(path: str | Path) -> str:
    """A path relative to where the person is, if that is shorter."""
    return min(str(path), os.path.relpath(path), key=len)
