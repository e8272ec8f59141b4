"""`unveil promote` and `unveil rollback`: what a person decides about the champion."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from flows.promotion import ALREADY, INCONCLUSIVE, PROMOTE, REFUSE, contend
from flows.settings import RunConfig
from tasks import ledgers, runs
from tasks.artifacts import Artifact, verify
from tasks.environment import workspace
from tasks.errors import ConfigError, one_line
from tasks.tracking import Tracker

EXIT_CODES = {PROMOTE: 0, ALREADY: 0, INCONCLUSIVE: 3, REFUSE: 4}
_NEEDED = ("cleaning", "tokenization", "pretraining", "evaluation")
_OPTIONAL = "finetuning-"


def promote(options: argparse.Namespace) -> int:
    """Decide again on the newest evaluated model; returns the exit code of the verdict."""
    if options.yes and not (options.why or "").strip():
        raise ConfigError("--yes needs a reason", where="--why", remedy='add --why "..."')
    if options.why and not options.yes:
        raise ConfigError("a reason changes nothing without --yes", where="--why", remedy="add --yes")
    outcome = decide_again((options.why or "").strip())
    for reason in outcome["reasons"]:
        sys.stdout.write(f"{one_line(reason)}\n")
    sys.stdout.write(f"{outcome['verdict']}: version {outcome['version']}\n")
    if outcome["verdict"] in (INCONCLUSIVE, REFUSE):
        sys.stderr.write(f"unveil: promotion: {outcome['verdict']}: {one_line(outcome['summary'])}\n")
    if outcome["verdict"] == INCONCLUSIVE:
        sys.stderr.write('unveil: to promote it nevertheless: unveil promote --yes --why "..."\n')
    return EXIT_CODES[outcome["verdict"]]


def rollback(options: argparse.Namespace) -> int:
    """Let the previous champion answer again; returns the exit code."""
    if not options.why.strip():
        raise ConfigError("is empty", where="--why", remedy="say why, for whoever reads it later")
    from tasks.registry import Registry

    home = workspace()
    tracker = Tracker(home)
    ledger = _newest()
    if not tracker.exists() or ledger is None:
        raise ConfigError("there is no champion", where=home, remedy="run `unveil run` first")
    name = options.model or _config(ledger).promotion.registered_model
    number = Registry(tracker, name).rollback(options.why.strip())
    sys.stdout.write(f"version {number} of {name} is the champion again\n")
    return 0


def decide_again(approve: str = "") -> dict[str, Any]:
    """Decide on the model of the newest run that evaluated one, and act on it.

    Args:
        approve: a person's reason to promote it although the gates are unsure; a refusal stands.

    Returns:
        As `flows.promotion.compete`.

    Raises:
        ConfigError: no run has evaluated a model.
        ArtifactError: what it made is gone or altered.
    """
    ledger = _newest()
    if ledger is None:
        raise ConfigError(
            "no evaluated model yet", where=workspace(), remedy="run `unveil run` to the end first"
        )
    artifacts = _artifacts(ledger)
    config = _config(ledger)
    with runs.running("promotion", ledger["config"], preset=str(ledger.get("preset", ""))):
        return contend(config, artifacts, approve=approve)


def _newest() -> dict[str, Any] | None:
    """The ledger of the newest run that evaluated a model."""
    return ledgers.newest(workspace(), lambda entry: _artifact(entry, "evaluation") is not None)


def _artifacts(ledger: dict[str, Any]) -> dict[str, Artifact]:
    """The verified artefacts of a run that a promotion looks at."""
    names = [name for name in ledger["stages"] if name in _NEEDED or name.startswith(_OPTIONAL)]
    found = {name: path for name in names if (path := _artifact(ledger, name)) is not None}
    if missing := [name for name in _NEEDED if name not in found]:
        raise ConfigError(
            f"the newest evaluated model has no {missing[0]}",
            where=ledger["run_id"],
            remedy="run `unveil run` to the end first",
        )
    return {name: verify(path) for name, path in found.items()}


def _artifact(ledger: dict[str, Any], stage: str) -> Path | None:
    path = (ledger.get("stages", {}).get(stage) or {}).get("artifact")
    return Path(path) if path else None


def _config(ledger: dict[str, Any]) -> RunConfig:
    try:
        return RunConfig.model_validate(ledger["config"])
    except ValidationError as error:
        raise ConfigError(
            "was configured for another version of Unveil",
            where=ledger["run_id"],
            remedy="run `unveil run` again",
        ) from error
