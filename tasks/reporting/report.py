"""The reporting stage: what a run came to, as Markdown, as one web page and as a model card.

All three are written from the same sections, which are made of what the other stages left behind.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.artifacts import Artifact, canonical_json, write_synced
from tasks.config import Summary
from tasks.reporting import model_card, web_page
from tasks.reporting.config import ReportingConfig
from tasks.reporting.safe_text import safe
from tasks.reporting.sources import Evidence
from tasks.reporting.story import Story
from tasks.reporting.task_verdict import TASKS, contest
from tasks.reporting.verdict import rival, standing

log = logging.getLogger(__name__)


class ReportSummary(Summary):
    """What the page holds, and how the model stands to ``rival``, the best of the older models.

    ``standing`` is better, worse or undecided; ``tasks`` says the same of each task against its best baseline.
    """

    sections: int
    pictures: int
    characters: int
    standing: str
    rival: str
    tasks: dict[str, str]


def report(inputs: Mapping[str, Artifact], config: ReportingConfig, folder: Path) -> ReportSummary:
    """Write ``report.md``, ``report.html``, ``model-card/README.md``, the pictures, and two tables of numbers.

    ``origins.json`` has what was read and kept by domain and source, ``filters.json`` what each rule removed.
    Needs the artefacts of ingestion, cleaning, tokenization, embeddings, pretraining and evaluation, and takes
    those of the fine-tunings that there are, and as ``former`` the evaluation of the corpus before. Equal artefacts
    give equal bytes.

    Raises:
        ArtifactError: a file that the report needs is missing or cannot be read.
    """
    evidence = Evidence(inputs)
    story = Story.of(evidence, config, folder)
    text = "\n".join(
        [f"# {safe(config.title)}", "", story.brief, "", *(each.text() for each in story.sections)]
    )
    write_synced(folder / "report.md", text.rstrip("\n") + "\n")
    page = web_page.web_page(config.title, story.brief, story.sections, folder)
    write_synced(folder / "report.html", page)
    write_synced(folder / "origins.json", canonical_json(evidence.origins, indent=1))
    write_synced(folder / "filters.json", canonical_json(evidence.filters, indent=1))
    (folder / "model-card").mkdir()
    card = model_card.model_card(evidence, story.brief, story.of_card, story.evaluation)
    write_synced(folder / "model-card" / "README.md", card.rstrip("\n") + "\n")
    log.info("report: %d sections", len(story.sections))
    contests = {suite: contest(evidence, suite) for suite in TASKS}
    return ReportSummary(
        sections=len(story.sections),
        pictures=len(list(folder.glob("*.png"))),
        characters=len(text),
        standing=standing(evidence),
        rival=str(rival(evidence)["baseline"]),
        tasks={suite: found.standing for suite, found in contests.items() if found},
    )


def observe(_config: ReportingConfig, _fetch: bool = True) -> dict[str, Any]:
    """The templates, which a report depends on as on code and configuration."""
    return {**web_page.templates(), **model_card.templates()}
