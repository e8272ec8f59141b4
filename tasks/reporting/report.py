"""The reporting stage: one Markdown page with its pictures, made of what the other stages left behind."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from tasks.artifacts import Artifact, write_synced
from tasks.config import Summary
from tasks.reporting import data_sections, model_sections
from tasks.reporting.config import ReportingConfig
from tasks.reporting.page import Section, amount
from tasks.reporting.safe_text import safe
from tasks.reporting.sources import Evidence
from tasks.reporting.verdict import limits, rival, standing, verdict

log = logging.getLogger(__name__)


class ReportSummary(Summary):
    """What the page holds, and how the model stands to ``rival``, the best of the older models.

    ``standing`` is better, worse or undecided.
    """

    sections: int
    pictures: int
    characters: int
    standing: str
    rival: str


def report(inputs: Mapping[str, Artifact], config: ReportingConfig, folder: Path) -> ReportSummary:
    """Write ``report.md`` and the pictures it shows.

    Needs the artefacts of ingestion, cleaning, tokenization, embeddings, pretraining and evaluation. Equal
    artefacts give equal bytes.

    Raises:
        ArtifactError: a file that the report needs is missing or cannot be read.
    """
    evidence = Evidence(inputs)
    sections = _sections(evidence, config, folder)
    text = "\n".join(
        [f"# {safe(config.title)}", "", *_in_brief(evidence), *(each.text() for each in sections)]
    )
    write_synced(folder / "report.md", text.rstrip("\n") + "\n")
    log.info("report: %d sections", len(sections))
    return ReportSummary(
        sections=len(sections),
        pictures=len(list(folder.glob("*.png"))),
        characters=len(text),
        standing=standing(evidence),
        rival=str(rival(evidence)["baseline"]),
    )


def _sections(evidence: Evidence, config: ReportingConfig, folder: Path) -> list[Section]:
    """All parts in the order of the story."""
    what_it_does_not_say = Section("What these numbers do not say")
    what_it_does_not_say.items(limits(evidence))
    found = [
        model_sections.quality(evidence, config, folder),
        model_sections.samples(evidence, config),
        model_sections.steps(evidence, config),
        what_it_does_not_say,
        data_sections.went_in(evidence, config),
        data_sections.dropped(evidence, config),
        data_sections.tokens(evidence),
        data_sections.vectors(evidence, config, folder),
        model_sections.training(evidence, config, folder),
        data_sections.provenance(evidence),
    ]
    return [section for section in found if section is not None]


def _in_brief(evidence: Evidence) -> list[str]:
    """The whole story in three sentences."""
    cleaning, training = evidence.summary("cleaning"), evidence.summary("pretraining")
    tokens = evidence.summary("tokenization")["splits"]["train"]["tokens"]
    documents, domains = cleaning["documents"]["kept"], data_sections.domains_in_words(evidence)
    return [
        f"{documents:,} documents ({domains}) became {amount(tokens)} training tokens. A model of "
        f"{amount(training['parameters'])} parameters read {amount(training['tokens'])} tokens in training, "
        f"repetitions counted. {verdict(evidence)}",
        "",
    ]
