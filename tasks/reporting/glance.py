"""The main numbers, for readers who read nothing else."""

from __future__ import annotations

from tasks.reporting.blocks import Bounds, Card, figure
from tasks.reporting.page import Section, amount
from tasks.reporting.sources import Evidence, Row
from tasks.reporting.task_verdict import TASKS, contest, spoken
from tasks.reporting.verdict import ALL_DOMAINS, measure, model_names, rival, standing, unit


def at_a_glance(evidence: Evidence) -> Section:
    """One card for each of them."""
    section = Section("At a glance")
    section.cards([*_language_model(evidence), *_tasks(evidence), *_size(evidence)])
    return section


def _language_model(evidence: Evidence) -> list[Card]:
    ours = evidence.find(measure(evidence), domain=ALL_DOMAINS, model="model")
    gap = rival(evidence)
    name = model_names(gap["baseline"])
    return [
        *(
            Card(unit(evidence), figure(row["value"]), _about(row, f"{row['n']:,} documents; less is better"))
            for row in ours
        ),
        Card(f"less the {name}", f"{gap['value']:+.3f}", _about(gap, unit(evidence)), standing(evidence)),
    ]


def _tasks(evidence: Evidence) -> list[Card]:
    cards = []
    for suite, title in TASKS.items():
        if found := contest(evidence, suite):
            label = f"{title}: {spoken(found.metric)}"
            rest = f"{found.ours['n']:,} test items"
            if found.rival:
                rest += f"; {spoken(found.rival['model'])}: {figure(found.rival['value'])}"
            cards.append(Card(label, figure(found.ours["value"]), _about(found.ours, rest), found.standing))
    return cards


def _size(evidence: Evidence) -> list[Card]:
    cleaning, training = evidence.summary("cleaning"), evidence.summary("pretraining")
    documents = cleaning["documents"]
    return [
        Card("parameters", amount(training["parameters"]), "trained from scratch"),
        Card("tokens read in training", amount(training["tokens"]), f"{training['steps']:,} steps"),
        Card("documents kept", f"{documents['kept']:,}", f"of {documents['records_in']:,} read"),
    ]


def _about(row: Row, rest: str) -> str:
    if row["low"] is None or row["high"] is None:
        return f"no interval; {rest}"
    return f"95 % interval {Bounds(row['low'], row['high'], row['value'])}; {rest}"
