"""Who wins at a task: the fine-tuned model beside the best of the simple ways, judged by the paired interval."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.reporting.blocks import figure
from tasks.reporting.safe_text import safe
from tasks.reporting.sources import Evidence, Row
from tasks.reporting.verdict import ALL_DOMAINS

DIFFERENCE = "_difference"
TASKS = {
    "sentiment": "Sentiment analysis",
    "question_answering": "Question answering",
    "translation": "Translation",
}
# What each task is judged by first. In all of them, more is better.
_FIRST = {"sentiment": "accuracy", "question_answering": "f1", "translation": "chrf"}
_NAMES = {
    "model": "our model",
    "f1": "F1",
    "macro_f1": "macro F1",
    "chrf": "chrF",
    "bleu": "BLEU",
    "tfidf_logistic_regression": "TF-IDF with logistic regression",
    "majority": "always the commonest label",
    "always_no_answer": "never an answer",
    "random_span": "a random span",
    "sliding_window": "sliding window",
    "copy": "copying the source",
    "nearest_neighbour": "nearest neighbour's translation",
    "crows_pairs": "CrowS-Pairs",
    "winobias": "WinoBias",
    "identity_swaps": "identity swaps",
    "ctf_gap": "counterfactual gap",
    "confusion": "confusion: true labels by row, predicted ones by column",
}

# What each simple way has that a small model lacks, or lacks itself: our reading, not a measurement.
_CHARACTER = {
    "majority": "knows the labels and nothing of the text",
    "tfidf_logistic_regression": "weighs every word of all training rows at once; where single words decide, "
    "counting them needs less text than learning to read",
    "always_no_answer": "is right wherever the text does not say, and nowhere else",
    "random_span": "knows how long answers are",
    "leading_words": "knows how long answers are and that many stand at the beginning",
    "sliding_window": "is handed which words question and context share; a network has to learn to compare them",
    "copy": "keeps names, numbers and placeholders, which look alike in both languages",
    "nearest_neighbour": "repeats what a person wrote; where texts resemble each other, it often fits as it is",
}

_OPENINGS = {
    "better": "By that measure it beats",
    "undecided": "It cannot be told apart from",
    "worse": "It loses to",
}


@dataclass(frozen=True)
class Contest:
    """The model's score at a task, the best baseline's, and the paired difference where there is one."""

    metric: str
    ours: Row
    rival: Row | None
    gap: Row | None

    @property
    def standing(self) -> str:
        """``better``, ``worse`` or ``undecided``, by the interval alone."""
        return standing_of(self.gap)


def spoken(name: str) -> str:
    """A name of the records in words, not escaped."""
    return _NAMES.get(name, name.replace("_", " "))


def standing_of(gap: Row | None) -> str:
    """What a paired difference decides, where more is better."""
    if gap is None or gap["low"] is None or gap["high"] is None:
        return "undecided"
    return "better" if gap["low"] > 0 else "worse" if gap["high"] < 0 else "undecided"


def overall(evidence: Evidence, suite: str) -> list[Row]:
    """A task's records over all of its test items."""
    rows = evidence.of_suite(suite)
    return [row for row in rows if row["domain"] == ALL_DOMAINS and not row["condition"]]


def contest(evidence: Evidence, suite: str) -> Contest | None:
    """The main comparison of a task, or nothing where the model was not scored."""
    rows = overall(evidence, suite)
    scores = [row for row in rows if row["model"] == "model" and not row["baseline"]]
    ours = next((row for row in scores if row["metric"] == _FIRST.get(suite)), next(iter(scores), None))
    if ours is None:
        return None
    metric = ours["metric"]
    others = [row for row in rows if row["metric"] == metric and row["model"] != "model"]
    rival = max(others, key=lambda row: (row["value"], row["model"]), default=None)
    gaps = {row["baseline"]: row for row in rows if row["metric"] == metric + DIFFERENCE}
    return Contest(metric, ours, rival, gaps.get(rival["model"]) if rival else None)


def task_verdict(found: Contest) -> str:
    """The outcome in one sentence of running text."""
    metric, ours = safe(spoken(found.metric)), figure(found.ours["value"])
    items = f"on {found.ours['n']:,} test items"
    if found.rival is None:
        return f"Its {metric} is {ours} {items}. It was held against nothing, so this decides nothing."
    name, theirs = safe(spoken(found.rival["model"])), figure(found.rival["value"])
    scores = f"{metric} {ours} against {theirs} {items}"
    if found.gap is None or found.gap["low"] is None or found.gap["high"] is None:
        return (
            f"Beside the best simple way ({name}): {scores}. The difference has no interval, so this "
            f"decides nothing."
        )
    value, low, high = (found.gap[key] for key in ("value", "low", "high"))
    interval = f"difference {value:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}"
    match found.standing:
        case "better":
            return f"**The fine-tuned model beats the best simple way ({name})**: {scores}, {interval}."
        case "worse":
            return f"**The fine-tuned model loses to the best simple way ({name})**: {scores}, {interval}."
    return (
        f"**The fine-tuned model cannot be told apart from the best simple way ({name})**: {scores}, "
        f"{interval}. This is undecided."
    )


def against_each(evidence: Evidence, suite: str, metric: str) -> list[str]:
    """What the model's main measure decides against every simple way, and what that way is good at.

    Sentences of running text: those it beats, those it cannot be told apart from, those it loses to.
    """
    gaps = [row for row in overall(evidence, suite) if row["metric"] == metric + DIFFERENCE]
    told = []
    for standing, opening in _OPENINGS.items():
        names = [_characterised(row["baseline"]) for row in gaps if standing_of(row) == standing]
        if names:
            told.append(f"{opening} {'; '.join(names)}.")
    return told


def _characterised(name: str) -> str:
    character = _CHARACTER.get(name)
    return safe(spoken(name)) + (f" ({character})" if character else "")
