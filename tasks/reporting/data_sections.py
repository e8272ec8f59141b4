"""What went in, what was dropped and why, and what it became: documents, tokens, word vectors."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from tasks.cleaning.pii import KINDS
from tasks.reporting.config import ReportingConfig
from tasks.reporting.filter_picture import waterfall
from tasks.reporting.page import Section, amount, percent, size
from tasks.reporting.safe_text import safe
from tasks.reporting.sources import Evidence
from tasks.tokenization import CONTINUATION

_SPLITS = ("train", "validation", "test")


def went_in(evidence: Evidence, config: ReportingConfig) -> Section:
    """Documents by domain, source and licence."""
    section, cleaning = Section("What went in"), evidence.summary("cleaning")
    documents = cleaning["documents"]
    section.say(
        f"{documents['records_in']:,} documents ({size(cleaning['bytes_in'])}) were read and",
        f"{documents['kept']:,} ({size(cleaning['bytes_out'])}, {cleaning['words']:,} words) kept.",
        "Each source keeps its licence; whoever uses the model should look at them.",
    )
    rows = [
        (o["domain"], o["source"], o["licence"], o["read"], o["kept"], size(o["bytes"]), o["tokens"])
        for o in evidence.origins
    ]
    section.table(
        ("domain", "source", "licence", "read", "kept", "text kept", "tokens"), rows, config.rows_shown
    )
    if evidence.labelled_origins:
        section.say("The labelled examples, for fine-tuning and its tests, come from:")
        section.table(("labelled set", "source", "licence"), evidence.labelled_origins, config.rows_shown)
    return section


def dropped(evidence: Evidence, config: ReportingConfig, folder: Path) -> Section:
    """What was left out, by rule, from ingestion to the labelled sets."""
    section, report = Section("What was dropped, and why"), evidence.json("cleaning", "filter_report.json")
    ingestion = evidence.summary("ingestion")
    passed_over = sum(source["left_out"] for source in ingestion["sources"].values())
    total = report["documents"]
    section.say(
        f"Ingestion put {ingestion['quarantined']:,} broken records into quarantine and passed over",
        f"{passed_over:,} that its sources' rules leave out. Cleaning dropped {total['dropped']:,} of",
        f"{total['in']:,} documents ({percent(total['dropped'], total['in'])}); each is in quarantine with",
        "its reason.",
    )
    counts = {rule: found["dropped"] for rule, found in report["rules"].items()}
    if waterfall(folder / "filters.png", total["in"], counts, config.picture_dpi):
        section.picture("filters.png", "Documents read, taken by each rule, and kept")
    rules = sorted(report["rules"].items(), key=lambda item: (-item[1]["dropped"], item[0]))
    section.table(
        ("rule", "documents", "share", "text", "tokens, about", "for example"),
        [
            (
                rule,
                found["dropped"],
                percent(found["dropped"], total["in"]),
                size(found["bytes"]),
                evidence.filters[rule]["tokens_estimated"],
                next((str(sample["reason"])[:200] for sample in found["samples"]), ""),
            )
            for rule, found in rules
        ],
        config.rows_shown,
    )
    section.take(_changed(report["changes"], total["in"], config))
    section.take(_labelled(report["labelled"]))
    if found := report["personal_data"]:
        section.say(
            "Personal data that have a structure were replaced by what kind they are. Names and street addresses",
            "are not found this way.",
        )
        kinds = sorted({kind for counts in found.values() for kind in counts} - {"records"})
        if named := [kind for kind in kinds if kind not in KINDS]:
            section.say(f"A model that the configuration gives found these in documents: {', '.join(named)}.")
        rows_found = [
            (name, counts["records"], *(counts.get(kind, 0) for kind in kinds))
            for name, counts in found.items()
        ]
        section.table(("domain or labelled set", "records", *kinds), rows_found, config.rows_shown)
    return section


def _changed(changes: dict[str, Any], documents: int, config: ReportingConfig) -> Section:
    """What was changed in documents, whether they stayed or not."""
    section = Section("What was changed")
    if changes:
        section.say(
            "Every document whose text was changed is in the cleaning stage's table of changes with the rule, its",
            "reason and the sizes before and after:",
        )
        rows = [
            (
                rule,
                found["changed"],
                percent(found["changed"], documents),
                size(found["bytes_before"]),
                size(found["bytes_after"]),
                next((str(sample["reason"])[:200] for sample in found["samples"]), ""),
            )
            for rule, found in changes.items()
        ]
        header = ("rule", "documents", "share", "text before", "text after", "for example")
        section.table(header, rows, config.rows_shown)
    return section


def _labelled(sets: dict[str, Any]) -> Section:
    """The labelled sets, which later fine-tuning learns from."""
    section = Section("Labelled sets")
    rows = [
        (
            name,
            found["in"],
            found["kept"],
            *(found["splits"][split] for split in _SPLITS),
        )
        for name, found in sorted(sets.items())
        if found["in"]
    ]
    if rows:
        section.say("Labelled examples, split so that look-alikes stay together:")
        section.table(("labelled set", "read", "kept", "train", "validation", "test"), rows)
    return section


def tokens(evidence: Evidence) -> Section:
    """The vocabulary and what it makes of each split."""
    section, summary = Section("Tokens"), evidence.summary("tokenization")
    splits, origin = summary["splits"], "learnt from the training split alone"
    if CONTINUATION in splits:
        origin = "which the champion brought along"
    section.say(
        f"A byte-level BPE with {summary['vocab_size']:,} entries, {origin};",
        f"{100 * summary['unused_vocabulary']:.1f} % of them do not occur in that split. Any text can be encoded.",
    )
    if CONTINUATION in splits:
        section.say(
            "Training went on from the champion with the documents under `continuation`: the new ones of the",
            "training split, and known ones that are read again so that they are not forgotten.",
        )
    section.table(
        ("split", "documents", "text", "tokens", "bytes per token"),
        [
            (name, split["documents"], size(split["bytes"]), split["tokens"], split["bytes_per_token"])
            for name in (*_SPLITS, CONTINUATION)
            if (split := splits.get(name))
        ],
    )
    return section


def vectors(evidence: Evidence, config: ReportingConfig, folder: Path) -> Section:
    """Word vectors: agreement with people, neighbours, and the map of words."""
    section, summary = Section("Word vectors"), evidence.summary("embeddings")
    section.say(
        f"{amount(summary['vocabulary'])} words have a vector of {summary['dimensions']} numbers; they cover",
        f"{100 * summary['covered']:.1f} % of the running text. The language model does not use them: they",
        "show what the corpus means by its words. Agreement with human ratings of word pairs (1 is",
        "perfect, 0 is chance):",
    )
    section.table(
        ("ratings", "rank correlation", "pairs known", "of"),
        [(name, s["spearman"], s["found"], s["pairs"]) for name, s in sorted(summary["similarity"].items())],
    )
    neighbours = evidence.json("embeddings", "neighbours.json")
    shown = config.neighbours_shown
    rows = [
        (word, ", ".join(str(near[0]) for near in found[:shown]))
        for word, found in sorted(neighbours.items())
    ]
    if shown:
        section.table(("word", "nearest words"), rows, config.rows_shown)
    if picture := evidence.optional("embeddings", "embeddings.png"):
        shutil.copyfile(picture, folder / "embeddings.png")
        section.picture("embeddings.png", "Map of words: words used alike lie together")
    return section


def provenance(evidence: Evidence) -> Section:
    """Which artefacts the report speaks of."""
    section = Section("Where the numbers come from")
    section.say(
        "Every number above was read from these artefacts. A fingerprint names the inputs, the",
        "configuration and the code; the content digest names the bytes that came out.",
    )
    found = evidence.artifacts.items()
    section.table(
        ("stage", "fingerprint", "content"), [(name, a.fingerprint[:16], a.content[:16]) for name, a in found]
    )
    return section


def domains_in_words(evidence: Evidence) -> str:
    """The domains, most text first, for a sentence."""
    return ", ".join(safe(name) for name in dict.fromkeys(row["domain"] for row in evidence.origins))
