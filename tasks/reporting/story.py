"""The sections of a run's report, in the order in which they are told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tasks.reporting import (
    bias_sections,
    data_sections,
    glance,
    measurements,
    model_sections,
    representation_section,
    task_sections,
)
from tasks.reporting.config import ReportingConfig
from tasks.reporting.limits import limits
from tasks.reporting.page import Section, amount
from tasks.reporting.sources import Evidence
from tasks.reporting.verdict import verdict


@dataclass(frozen=True)
class Story:
    """All that is told of a run.

    Attributes:
        brief: the run in a line of running text.
        sections: those of the report, the main numbers first.
        evaluation: those of them that measure the model.
        of_card: those that a model card puts in places of their own, by name.
    """

    brief: str
    sections: tuple[Section, ...]
    evaluation: tuple[Section, ...]
    of_card: dict[str, Section]

    @classmethod
    def of(cls, evidence: Evidence, config: ReportingConfig, folder: Path) -> Story:
        """Tell it; the pictures are drawn into ``folder``."""
        glance_at = glance.at_a_glance(evidence)
        data = data_sections.went_in(evidence, config)
        training = model_sections.training(evidence, config, folder)
        provenance = data_sections.provenance(evidence)
        cost = measurements.examination(evidence, "cost", config)
        quality = model_sections.quality(evidence, config, folder)
        tasks = task_sections.tasks(evidence, config, folder)
        examined = _there(
            bias_sections.bias(evidence, config),
            *(measurements.examination(evidence, suite, config) for suite in ("toxicity", "memorisation")),
            measurements.examination(evidence, "explanation", config),
        )
        more = measurements.others(evidence, config)
        sections = _there(
            glance_at,
            quality,
            *tasks,
            model_sections.samples(evidence, config),
            model_sections.steps(evidence, config),
            *examined,
            _limits(evidence),
            data,
            data_sections.dropped(evidence, config, folder),
            representation_section.representation(evidence, config, folder),
            data_sections.tokens(evidence),
            data_sections.vectors(evidence, config, folder),
            training,
            cost,
            more,
            provenance,
        )
        of_card = {"at_a_glance": glance_at, "data": data, "training": training, "provenance": provenance}
        return cls(
            brief=_in_brief(evidence),
            sections=tuple(sections),
            evaluation=tuple(_there(quality, *tasks, *examined, more)),
            of_card=of_card | ({"cost": cost} if cost else {}),
        )


def _there(*sections: Section | None) -> list[Section]:
    return [section for section in sections if section is not None]


def _limits(evidence: Evidence) -> Section:
    section = Section("What these numbers do not say")
    section.items(limits(evidence))
    return section


def _in_brief(evidence: Evidence) -> str:
    """The whole story in three sentences."""
    cleaning, training = evidence.summary("cleaning"), evidence.summary("pretraining")
    tokens = evidence.summary("tokenization")["splits"]["train"]["tokens"]
    documents, domains = cleaning["documents"]["kept"], data_sections.domains_in_words(evidence)
    return (
        f"{documents:,} documents ({domains}) became {amount(tokens)} training tokens. A model of "
        f"{amount(training['parameters'])} parameters read {amount(training['tokens'])} tokens in training, "
        f"repetitions counted. {verdict(evidence)}"
    )
