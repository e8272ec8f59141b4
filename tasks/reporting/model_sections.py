"""How the model was trained, how well it predicts, and what it writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks import tables
from tasks.reporting import pictures
from tasks.reporting.blocks import Cell
from tasks.reporting.config import ReportingConfig
from tasks.reporting.page import Section, amount
from tasks.reporting.safe_text import safe, safe_lines
from tasks.reporting.sources import Evidence, Row
from tasks.reporting.verdict import ALL_DOMAINS, estimate, measure, model_names, unit

_OBJECTIVES = {
    "causal": "to predict the next token",
    "masked": "to guess hidden tokens",
    "hybrid": "to predict the next token and to guess hidden ones",
}


def training(evidence: Evidence, config: ReportingConfig, folder: Path) -> Section:
    """Size, length and cost of the training, and its curve."""
    section, summary = Section("Training"), evidence.summary("pretraining")
    section.say(
        f"A transformer with {amount(summary['parameters'])} parameters, trained from scratch",
        f"{_OBJECTIVES[evidence.objective]}: {summary['steps']:,} steps over {amount(summary['tokens'])}",
        f"tokens, which is {summary['epochs']:.2f} times the training split, and about",
        f"{summary['flops']:.2e} floating-point operations.",
    )
    ends = [("training loss, mean of the last steps", summary["training_loss"])]
    ends += [
        (f"validation {name.replace('_', ' ')}", value)
        for name, value in sorted(summary["validation"].items())
    ]
    section.table(("where it ended", "value"), ends)
    curves = evidence.optional("pretraining", "curves.parquet")
    rows = [] if curves is None else tables.read_arrow(curves).to_pylist()
    if any(row["loss"] is not None for row in rows):
        pictures.training_curve(folder / "training.png", rows, config.picture_dpi)
        section.picture("training.png", "Training loss and validation over the tokens seen")
    return section


def quality(evidence: Evidence, config: ReportingConfig, folder: Path) -> Section:
    """The model beside the older ways of modelling language, overall and by domain."""
    section, metric = Section("How well it predicts text it never saw"), measure(evidence)
    section.say(_explanation(evidence))
    overall = {row["model"]: row for row in evidence.find(metric, domain=ALL_DOMAINS)}
    gaps = {row["baseline"]: row for row in evidence.find(f"{metric}_difference", domain=ALL_DOMAINS)}
    rows: list[tuple[Cell, ...]] = [
        (model_names(name), *estimate(row), *estimate(gaps.get(name), mark=0.0))
        for name, row in overall.items()
    ]
    section.table(
        ("model", unit(evidence), "95 % interval", "our model less this one", "95 % interval"), rows
    )
    domains = _by_domain(evidence, metric)
    bars = {domain: [_bar(row) for row in found.values()] for domain, found in domains.items()}
    every = [_bar(row) for row in overall.values()]
    pictures.quality_bars(folder / "quality.png", every, bars, unit(evidence), config.picture_dpi)
    section.picture("quality.png", f"{unit(evidence)} of every model, overall and by domain")
    section.table(
        ("domain", "documents", *map(model_names, overall)),
        [
            (domain, found["model"]["n"], *(found[name]["value"] for name in overall))
            for domain, found in domains.items()
        ],
        config.rows_shown,
    )
    if evidence.objective == "hybrid":
        section.say(_hidden_words(evidence))
    return section


def _explanation(evidence: Evidence) -> str:
    if evidence.objective == "masked":
        note = evidence.json("evaluation", "samples.json")["note"]
        return (
            f"{safe(note)} The unigram knows only how frequent words are and guesses the same hidden words."
        )
    return (
        "Bits per byte say how many bits it takes to write down a byte of unseen text with the model's help: "
        "less is better, and models with different vocabularies compare. The n-gram models are the older, "
        "statistical way; they learnt from the same tokens and are measured on the same documents."
    )


def _hidden_words(evidence: Evidence) -> str:
    [model] = evidence.find("masked_loss", domain=ALL_DOMAINS, model="model")
    [unigram] = evidence.find("masked_loss", domain=ALL_DOMAINS, model="unigram")
    return (
        f"Asked for hidden words, it needs {model['value']:.3f} nats a word; their frequency alone leaves "
        f"{unigram['value']:.3f}."
    )


def _by_domain(evidence: Evidence, metric: str) -> dict[str, dict[str, Row]]:
    """The records of each domain by model, in the order of the evaluation."""
    found: dict[str, dict[str, Row]] = {}
    for row in evidence.find(metric):
        if row["domain"] != ALL_DOMAINS:
            found.setdefault(row["domain"], {})[row["model"]] = row
    return found


def _bar(row: Row) -> pictures.Bar:
    return pictures.Bar(model_names(row["model"]), row["value"], row["low"], row["high"])


def samples(evidence: Evidence, config: ReportingConfig) -> Section:
    """What the model writes, unchosen, and how much it repeats itself."""
    section, found = Section("What it writes"), evidence.json("evaluation", "samples.json")
    if not found["samples"]:
        section.say(safe(found["note"]) if found["note"] else "No prompts were given.")
        return section
    section.say(
        "Continuations as they came, none chosen or mended. Temperature 0 always takes the likeliest token."
    )
    for sample in found["samples"][: config.samples_shown]:
        section.quote(
            f"*for* {safe(sample['domain'])}, *temperature* {sample['temperature']:g}",
            f"*prompt:* {safe_lines(sample['prompt'])}",
            f"*model:* {safe_lines(sample['text'], config.sample_characters)}",
        )
    if len(found["samples"]) > config.samples_shown:
        section.say(
            f"{len(found['samples']) - config.samples_shown} more are in the evaluation's samples.json."
        )
    _repetition(section, evidence)
    return section


def _repetition(section: Section, evidence: Evidence) -> None:
    distinct = {(row["model"], row["condition"]): row["value"] for row in evidence.find("distinct_2")}
    rows = [
        (
            row["condition"].replace("_", " ") or "human text of the test split",
            row["n"],
            row["value"],
            distinct.get((row["model"], row["condition"])),
        )
        for row in evidence.find("repetition_4", suite="generation")
    ]
    if rows:
        section.say(
            "How repetitive that is: the share of 4-grams that stood before, and of different token pairs."
        )
        section.table(("text", "texts", "repeated 4-grams", "different pairs"), rows)


def steps(evidence: Evidence, config: ReportingConfig) -> Section | None:
    """How one continuation came about, token by token."""
    found = evidence.json("evaluation", "samples.json")["steps"]
    if not found or not config.steps_shown:
        return None
    section = Section("How it writes, one token at a time")
    section.say(
        f"Prompt: {safe(found['prompt'])}. At every step the model reads all there is so far, gives every",
        "token of its vocabulary a probability, one is taken, and the loop begins again.",
    )
    section.table(
        ("step", "taken", "what it thought likeliest"),
        [
            (step["step"] + 1, _token(step), _candidates(step))
            for step in found["steps"][: config.steps_shown]
        ],
    )
    return section


def _token(step: dict[str, Any]) -> str:
    chosen = next((c["text"] for c in step["candidates"] if c["token_id"] == step["token_id"]), step["text"])
    return f"“{chosen}”"


def _candidates(step: dict[str, Any]) -> str:
    return ", ".join(f"“{c['text']}” {100 * c['probability']:.1f} %" for c in step["candidates"])
