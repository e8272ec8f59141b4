"""What the numbers do not say, told from which numbers there are."""

from __future__ import annotations

from tasks.reporting.page import size
from tasks.reporting.safe_text import safe
from tasks.reporting.sources import Evidence
from tasks.reporting.verdict import ALL_DOMAINS

FEW_DOCUMENTS = 50
# What an examination of each kind would have measured, by the suite its records bear.
_SUITES = {
    "sentiment": "sentiment analysis",
    "question_answering": "question answering",
    "translation": "translation",
    "crows_pairs": "stereotypes in pairs of sentences (CrowS-Pairs)",
    "winobias": "pronouns and occupations (WinoBias)",
    "identity_swaps": "whether naming another group changes a judgement (identity swaps)",
    "representation": "who the training text speaks of",
    "toxicity": "toxic output",
    "memorisation": "privacy: text remembered word for word",
    "explanation": "which words a decision rests on",
}
_BIAS = ("crows_pairs", "winobias", "identity_swaps")
_NEVER = ("whether what it says is true", "how people fare with it", "other languages and kinds of text")


def not_measured(evidence: Evidence) -> list[str]:
    """What no number of this run speaks of."""
    return [what for suite, what in _SUITES.items() if suite not in evidence.suites] + list(_NEVER)


def limits(evidence: Evidence) -> list[str]:
    """How far the numbers carry, one sentence each."""
    summary = evidence.summary("evaluation")
    found = [
        f"It is a small model of {summary['parameters']:,} parameters. What it writes is not knowledge: do "
        f"not rely on it for facts, advice or decisions about people.",
        f"Measured on {summary['documents']:,} documents ({size(summary['bytes'])}) from the same sources as "
        f"the training text. Other kinds of text may be much harder for it.",
        "The intervals say how much the choice of what was measured matters. Another training seed would "
        "move the numbers too; that is not in them.",
        *_of_examinations(evidence),
        *_left_out(evidence),
        f"Not measured here: {'; '.join(not_measured(evidence))}.",
    ]
    few = [
        row for row in evidence.find("documents") if row["n"] < FEW_DOCUMENTS and row["domain"] != ALL_DOMAINS
    ]
    if few:
        names = ", ".join(
            f"{safe(row['domain'])} ({row['n']})" for row in sorted(few, key=lambda row: row["domain"])
        )
        found.append(
            f"Domains with fewer than {FEW_DOCUMENTS} test documents, whose intervals tend to be too narrow: "
            f"{names}."
        )
    return found


def _of_examinations(evidence: Evidence) -> list[str]:
    found = []
    if evidence.suites.intersection(_BIAS):
        found.append(
            "Bias was measured with sentences of a few kinds. A number near its null does not show that the "
            "model is fair, and groups must not be ranked by numbers whose intervals overlap."
        )
    if "toxicity" in evidence.suites:
        found.append(
            "What counts as toxic is decided by a list of words, which knows no context and misses what it does "
            "not list."
        )
    if "memorisation" in evidence.suites:
        found.append("That nothing was drawn out of the model does not show that nothing can be.")
    if "explanation" in evidence.suites:
        found.append(
            "An attribution says what moved the model's score, not whether the reason was a good one."
        )
    return found


def _left_out(evidence: Evidence) -> list[str]:
    summary, whole = evidence.summary("evaluation"), evidence.summary("tokenization")["splits"]["test"]
    if summary["documents"] >= whole["documents"]:
        return []
    return [
        f"Of the {whole['documents']:,} test documents ({whole['tokens']:,} tokens) "
        f"{summary['documents']:,} ({summary['tokens']:,}) were scored; very long ones are the first to "
        f"be left out."
    ]
