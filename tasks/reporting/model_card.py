"""The model card: what a Hugging Face reader needs to know of the model, from the same sections as the report."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.reporting.blocks import Bounds
from tasks.reporting.limits import limits, not_measured
from tasks.reporting.page import Section, amount
from tasks.reporting.safe_text import cut, visible
from tasks.reporting.sources import Evidence, Row
from tasks.reporting.task_verdict import TASKS, overall, spoken
from tasks.reporting.verdict import ALL_DOMAINS, measure, unit

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

TEMPLATE = "model-card.md.j2"
# Identifiers of licences that the Hub knows, as far as text is likely to bear them.
_KNOWN_LICENCES = frozenset(
    [
        "apache-2.0",
        "bsd-2-clause",
        "bsd-3-clause",
        "cc-by-2.0",
        "cc-by-3.0",
        "cc-by-4.0",
        "cc-by-nc-4.0",
        "cc-by-nc-sa-4.0",
        "cc-by-sa-3.0",
        "cc-by-sa-4.0",
        "cc0-1.0",
        "gpl-2.0",
        "gpl-3.0",
        "mit",
        "mpl-2.0",
        "odbl",
        "odc-by",
        "pddl",
        "unlicense",
    ]
)
_LANGUAGE = re.compile(r"[a-z]{2,3}")
_LICENCE_CHARACTERS, _LICENCES = 120, 50
_TASK_TYPES = {
    "sentiment": "text-classification",
    "question_answering": "question-answering",
    "translation": "translation",
}
_PURPOSES = {
    "causal": "It predicts the next token and can go on with a text.",
    "masked": "It guesses hidden words. It cannot go on with a text.",
    "hybrid": "It predicts the next token and guesses hidden ones, and can go on with a text.",
}
_LOADING = {
    False: "`AutoModelForCausalLM.from_pretrained(folder)` loads it; its tokenizer loads with `AutoTokenizer`.",
    True: "Its attention looks in both directions; `models.export.load_pretrained(folder)` loads it so.",
}


def model_card(
    evidence: Evidence, brief: str, sections: Mapping[str, Section], evaluation: Sequence[Section]
) -> str:
    """The card's text, front matter first.

    Args:
        evidence: the artefacts of the run.
        brief: the run in a line of running text.
        sections: the report's sections at_a_glance, data, training, cost and provenance; cost may be missing.
        evaluation: the sections of all that was measured, in their order.
    """
    from jinja2 import Environment, StrictUndefined

    parts = {name: section.text(whole=False) for name, section in sections.items()}
    # Everything that is put in is Markdown whose words of the data went through `safe` already.
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)  # noqa: S701
    return environment.from_string(templates()[TEMPLATE]).render(
        {"cost": ""} | parts,
        front_matter=front_matter(evidence),
        name=f"A language model of {amount(evidence.summary('pretraining')['parameters'])} parameters",
        brief=brief,
        objective=_PURPOSES[evidence.objective],
        loading=_LOADING[evidence.objective == "masked"],
        evaluation="\n".join(section.text(whole=False) for section in evaluation),
        limits=_list(limits(evidence)),
        not_tested=_list(f"{what[:1].upper()}{what[1:]}" for what in not_measured(evidence)),
    )


def templates() -> dict[str, str]:
    """The text of the template: the card depends on it as on code."""
    return {TEMPLATE: (Path(__file__).parent / TEMPLATE).read_text(encoding="utf-8")}


def front_matter(evidence: Evidence) -> str:
    """What machines read: language, licences of the data, tags and the main scores, as YAML."""
    from huggingface_hub import ModelCardData

    licences = _licences(evidence)
    single = _hub_licence(licences)
    data = ModelCardData(
        language=[code for code in evidence.languages if _LANGUAGE.fullmatch(code)] or None,
        license=single or "other",
        license_name=None if single else "licences-of-the-data",
        library_name="transformers",
        pipeline_tag="fill-mask" if evidence.objective == "masked" else "text-generation",
        tags=["unveil", "trained-from-scratch", evidence.objective, *_taught(evidence)],
        model_name=f"unveil-{evidence.artifacts['pretraining'].content[:12]}",
        eval_results=_results(evidence),
        data_licences=licences,
    )
    return str(data.to_yaml()).strip("\n")


def _licences(evidence: Evidence) -> list[str]:
    found = (
        visible(cut(str(row["licence"]), _LICENCE_CHARACTERS)) for row in evidence.origins if row["kept"]
    )
    return sorted(set(found))[:_LICENCES]


def _hub_licence(licences: list[str]) -> str:
    """The licence of all of the data, if there is but one and the Hub knows it."""
    only = licences[0].lower() if len(licences) == 1 else ""
    return only if only in _KNOWN_LICENCES else ""


def _taught(evidence: Evidence) -> list[str]:
    return [kind for suite, kind in _TASK_TYPES.items() if overall(evidence, suite)]


def _results(evidence: Evidence) -> list[EvalResult]:
    ours = evidence.find(measure(evidence), domain=ALL_DOMAINS, model="model")
    found = [
        _result("text-generation", "Held-out documents of the training sources", row, unit(evidence))
        for row in ours
    ]
    for suite, kind in _TASK_TYPES.items():
        rows = [row for row in overall(evidence, suite) if row["model"] == "model" and not row["baseline"]]
        name = f"{TASKS[suite]}: held-out labelled rows"
        found += [_result(kind, name, row, spoken(row["metric"])) for row in rows]
    return found


def _result(kind: str, dataset: str, row: Row, metric: str) -> EvalResult:
    from huggingface_hub import EvalResult

    about = [f"n = {row['n']}"]
    if row["low"] is not None and row["high"] is not None:
        about.insert(0, f"95 % interval {Bounds(row['low'], row['high'], row['value'])}")
    return EvalResult(
        task_type=kind,
        dataset_type="held-out",
        dataset_name=dataset,
        dataset_split=visible(row["split"]),
        metric_type=visible(row["metric"]),
        metric_name=visible(f"{metric} ({', '.join(about)})"),
        metric_value=row["value"],
    )


def _list(sentences: Iterable[str]) -> str:
    section = Section("")
    section.items(list(sentences))
    return "\n".join(line for block in section.blocks for line in block.markdown())
