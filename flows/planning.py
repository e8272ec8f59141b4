"""`unveil plan`: what the trainings will take, and whether they fit, before anything runs."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.environment import workspace
from tasks.errors import UnveilError, one_line

if TYPE_CHECKING:
    from flows.settings import RunConfig
    from tasks.planning import Plan, TrainingPlan

_MEGABYTE = 1 << 20


def show(preset: str, settings: Mapping[str, Any], *, as_json: bool) -> None:
    """Plan the trainings of a configuration and print it; nothing is kept.

    Raises:
        UnveilError: the configuration cannot be used, or not even a few steps can be tried here.
    """
    from models.room import resident

    before = resident()
    from flows.running import configuration

    config, _ = configuration(preset, settings)
    vocabulary, notes = _vocabulary(config, preset, settings)
    from tasks import tracking
    from tasks.planning import plan

    tracking.load()  # as in the process of a run, which holds it beside the training
    home = workspace()
    with tempfile.TemporaryDirectory(dir=home if home.is_dir() else None, prefix=".plan-") as folder:
        found = plan(_planned(config, vocabulary), Path(folder), beside=resident() - before, notes=notes)
    text = json.dumps(found.as_dict(), indent=1) if as_json else "\n".join(_lines(found))
    sys.stdout.write(text + "\n")


def _planned(config: RunConfig, vocabulary: int) -> Any:
    from tasks.planning import Planned

    training = config.pretraining.training
    own, labelled = config.finetuning, config.ingestion.labelled
    heads = (
        ("sentiment", own.sentiment.training, labelled.sentiment),
        ("question-answering", own.question_answering.training, labelled.question_answering),
        ("translation", own.translation.training, labelled.translation),
    )
    return Planned(
        shape=config.pretraining.architecture.build(vocabulary, training.context_length),
        pretraining=training,
        heads={name: head for name, head, sources in heads if sources},
        budget=config.budget,
    )


def _vocabulary(config: RunConfig, preset: str, settings: Mapping[str, Any]) -> tuple[int, tuple[str, ...]]:
    """The vocabulary's size if the tokenizer is there, else as configured; and what else is assumed."""
    from flows.preparation import prepare
    from flows.running import inspect_flow

    try:
        found = inspect_flow("preparation", prepare, preset, settings, until="tokenization")
    except UnveilError as error:
        return config.tokenization.vocab_size, (f"vocabulary as configured: {one_line(str(error), 200)}",)
    tokens = next((item.artifact for item in found if item.stage == "tokenization"), None)
    if tokens is None:
        note = "vocabulary as configured: the tokenizer is not there yet and may find fewer entries"
        return config.tokenization.vocab_size, (note,)
    index = json.loads(tokens.file("index.json").read_text(encoding="utf-8"))
    return int(index["vocab_size"]), ()


def _lines(plan: Plan) -> Iterator[str]:
    for training in plan.trainings:
        yield from _training(training, plan)
    seconds, cost = sum(each.seconds for each in plan.trainings), sum(each.cost for each in plan.trainings)
    energy = sum(each.kilowatt_hours for each in plan.trainings)
    yield f"all trainings: {_duration(seconds)}, {energy:.3g} kWh, {cost:.3g} {plan.currency}"
    yield from (f"note: {note}" for note in plan.notes)


def _training(training: TrainingPlan, plan: Plan) -> Iterator[str]:
    parts = ", ".join(f"{name} {size // _MEGABYTE}" for name, size in training.memory.items())
    told = {
        "parameters": f"{training.parameters:,}",
        "tokens": f"{training.tokens:,}",
        "flops": f"{training.flops:.3g}",
        "memory": f"{training.total_memory // _MEGABYTE:,} MB ({parts})",
        "seconds": _duration(training.seconds),
        "kilowatt_hours": f"{training.kilowatt_hours:.3g} kWh",
        "cost": f"{training.cost:.3g} {plan.currency}",
    }
    names = {"flops": "FLOP", "seconds": "time", "kilowatt_hours": "energy"}
    yield training.name
    for name, value in told.items():
        yield f"  {names.get(name, name):<11} {value}  [{training.how[name]}]"
    yield f"  will it fit {_verdict(training, plan)}"
    if training.beyond:
        yield f"  budget      {training.beyond} will be reached before the end"


def _verdict(training: TrainingPlan, plan: Plan) -> str:
    room = f"{plan.available // _MEGABYTE:,} MB ({plan.available_by})"
    if training.fits:
        return f"yes, into {room}"
    if training.proposed_micro_batches:
        number = training.proposed_micro_batches
        return (
            f"not into {room}; with pretraining.training.gradient_accumulation={number} (now "
            f"{training.micro_batches}) it does, at the same effective batch; `auto` chooses by itself"
        )
    return f"not into {room}; take a smaller batch, a shorter context or a smaller model"


def _duration(seconds: float) -> str:
    from models.meter import duration

    return duration(seconds)
