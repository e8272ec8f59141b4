"""Whether the explanations that Unveil shows deserve belief: integrated gradients beside chance, on test texts.

Three questions. Do the scores add up to what the prediction gained (completeness)? Does the prediction hang on the
tokens named (comprehensiveness and sufficiency), more than on tokens named by chance? And do the scores depend on
what the model learned: with random weights they must become others (Adebayo et al. 2018, "Sanity checks for saliency
maps")?
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from tasks import tables
from tasks.artifacts import Artifact
from tasks.config import StageConfig
from tasks.errors import ArtifactError
from tasks.evaluation.explanation_records import (
    CHANCE,
    CHANCES,
    GRADIENTS,
    MEANINGS,
    Examined,
    Task,
    items,
    records,
)
from tasks.evaluation.findings import Findings
from tasks.evaluation.records import rounded

if TYPE_CHECKING:
    from models.attribution import Attribution
    from models.head_export import AnyHead, HeadConfig
    from models.predictions import Prediction

SENTIMENT, QUESTION_ANSWERING = "sentiment", "question_answering"
SHOWN, _SHOWN_OF_SECOND = 8, 2
_SCRAMBLED = 20  # texts explained with random weights too
_SCRAMBLING_SEED = 1 << 31  # beyond every seed of a training; the generator takes 32 bits
_QUESTION_TOKENS = 128  # of a question and what is read of its context: twice as many cost thrice the time
Row = dict[str, Any]


class ExplanationConfig(StageConfig):
    """On how many test texts the explanations are examined."""

    texts: int = Field(40, ge=1, le=100_000, description="Test texts of sentiment, drawn at random.")
    questions: int = Field(10, ge=1, le=100_000, description="Test questions, drawn at random.")
    most_steps: int = Field(
        512,
        ge=32,
        le=4096,
        description="Gradients for one explanation at most; doubled from 32 until the scores add up within 2 %.",
    )


def examine_explanations(
    sentiment: Artifact | None,
    question_answering: Artifact | None,
    cleaning: Artifact,
    *,
    texts: int,
    samples: int,
    seed: int,
    questions: int | None = None,
    most_steps: int = 512,
) -> Findings:
    """Explain predictions of the fine-tuned models at random test texts, and measure the explanations.

    Args:
        sentiment: the fine-tuned classifier, if there is one.
        question_answering: the fine-tuned span extractor, if there is one.
        cleaning: has the labelled sets.
        texts: test texts of sentiment at most.
        samples: times the texts are drawn anew for a 95 % interval.
        seed: draws the texts, the random attributions and the random weights.
        questions: test questions at most; by default a quarter of ``texts``.
        most_steps: gradients for one explanation at most.

    Raises:
        ArtifactError: a model is of another kind, or a file cannot be used.
    """
    found = Findings()
    tasks: list[Task] = []
    if sentiment is not None:
        rows = _drawn(cleaning, "sentiment", texts, seed)
        tasks.append(Task(SENTIMENT, _sentiment(sentiment, rows, most_steps, seed)))
    if question_answering is not None:
        rows = _drawn(cleaning, "question-answering", questions or max(1, texts // 4), seed)
        tasks.append(Task(QUESTION_ANSWERING, _answers(question_answering, rows, most_steps, seed)))
    for task in (each for each in tasks if each.texts):
        found.add(records(task, samples, seed))
        found.items += items(task)
    second = _SHOWN_OF_SECOND if len(tasks) > 1 else 0
    shown = {SENTIMENT: SHOWN - second, QUESTION_ANSWERING: second or SHOWN}
    found.shown["explanations"] = [
        {"task": task.name, **each.shown} for task in tasks for each in task.texts[: shown[task.name]]
    ]
    return found


def _drawn(cleaning: Artifact, name: str, count: int, seed: int) -> list[Row]:
    """Test rows in random order: the first ones are a random sample too."""
    rows = [
        row for row in tables.iterate(cleaning.file(f"labelled/{name}.parquet")) if row["split"] == "test"
    ]
    order = np.random.default_rng([seed, len(rows)]).permutation(len(rows))
    return [rows[place] for place in order[:count]]


def _opened(artifact: Artifact) -> tuple[AnyHead, HeadConfig, Any]:
    from models.export import load_tokenizer
    from models.head_export import load_head

    try:
        return (*load_head(artifact.path), load_tokenizer(artifact.path))
    except ValueError as error:
        raise ArtifactError(str(error), stage="evaluation", remedy="run the fine-tuning again") from error


def _sentiment(artifact: Artifact, rows: Sequence[Row], most_steps: int, seed: int) -> list[Examined]:
    from models.attribution import attribute
    from models.heads import Classifier
    from models.predictions import label_prediction

    head, config, tokenizer = _opened(artifact)
    if not isinstance(head, Classifier):
        raise ArtifactError("is not a classifier", stage="evaluation", where=artifact.path)
    scrambled = randomised(head, seed)
    examined = []
    for number, row in enumerate(rows):
        prediction = label_prediction(head, tokenizer, row["text"], max_tokens=config.max_tokens)
        found = _examine(prediction, row["id"], row["id"], most_steps, [seed, number])
        found.shown |= {"label": prediction.target, "truth": row["label"]}
        examined.append(found)
        if number >= _SCRAMBLED:
            continue
        label = head.labels.index(prediction.target)
        other = label_prediction(scrambled, tokenizer, row["text"], max_tokens=config.max_tokens, label=label)
        scores = attribute(other, first_steps=16, most_steps=16).scores
        found.rank_correlation = rank_correlation(
            [found.attribution.scores[place] for place in prediction.free],
            [scores[place] for place in prediction.free],
        )
    return examined


def _answers(artifact: Artifact, rows: Sequence[Row], most_steps: int, seed: int) -> list[Examined]:
    from models.answering import answer
    from models.heads import SpanExtractor
    from models.predictions import span_prediction

    head, config, tokenizer = _opened(artifact)
    if not isinstance(head, SpanExtractor):
        raise ArtifactError("is not a span extractor", stage="evaluation", where=artifact.path)
    contexts, asked = [row["context"] for row in rows], [row["question"] for row in rows]
    answers = answer(head, tokenizer, asked, contexts, config=config) if rows else []
    longest = min(config.max_tokens, _QUESTION_TOKENS)
    examined = []
    for number, (row, given) in enumerate(zip(rows, answers, strict=True)):
        span = (given.start, given.start + len(given.text)) if given.text else None
        prediction = span_prediction(
            head, tokenizer, row["question"], row["context"], max_tokens=longest, answer=span
        )
        found = _examine(prediction, row["id"], row["context_id"], most_steps, [seed, number])
        found.shown |= {"label": prediction.target, "truth": row["answer"] or "(no answer)"}
        examined.append(found)
    return examined


def _examine(
    prediction: Prediction, identity: str, cluster: str, most_steps: int, seed: Sequence[int]
) -> Examined:
    from models.attribution import attribute, random_attribution
    from models.faithfulness import REMOVALS, faithfulness

    found = attribute(prediction, most_steps=most_steps)
    seeds = np.random.default_rng(seed).integers(2**31, size=CHANCES).tolist()
    candidates = [found.scores, *(random_attribution(found, each).scores for each in seeds)]
    measured: dict[tuple[str, str, str], float] = {}
    for removal in REMOVALS:
        first, *others = faithfulness(prediction, candidates, removal)
        for measure in MEANINGS:
            measured[measure, removal, GRADIENTS] = getattr(first, measure)
            measured[measure, removal, CHANCE] = float(np.mean([getattr(each, measure) for each in others]))
    return Examined(identity, cluster, found, measured, _shown(prediction, found, identity))


def _shown(prediction: Prediction, found: Attribution, identity: str) -> Row:
    import torch

    with torch.no_grad():
        probability = float(prediction.ask(prediction.probability, torch.tensor([prediction.input_ids])))
    return {
        "id": identity,
        "pieces": list(found.pieces),
        "scores": [rounded(score) for score in found.scores],
        "probability": rounded(probability),
        "value": rounded(found.value),
        "baseline_value": rounded(found.baseline_value),
        "completeness_error": rounded(found.completeness_error),
    }


def randomised(head: Any, seed: int) -> Any:
    """The same network with every weight drawn anew, spread as the trained one's are: nothing learned is left."""
    import torch

    other = copy.deepcopy(head)
    # Not the seed itself: a model trained from that seed began with these very numbers.
    generator = torch.Generator().manual_seed(_SCRAMBLING_SEED + seed)
    with torch.no_grad():
        for weight in other.parameters():
            drawn = torch.empty(weight.shape).normal_(0.0, 1.0, generator=generator)
            spread = float(weight.std()) if weight.numel() > 1 else 0.0
            weight.copy_(weight.mean() + spread * drawn)
    return other.eval()


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Spearman's rank correlation; None below three values, 0 where all of either are equal."""
    from scipy.stats import rankdata  # type: ignore[import-untyped]

    if len(first) < 3:
        return None
    ranks = np.stack([rankdata(first), rankdata(second)])
    if (ranks.std(axis=1) == 0).any():
        return 0.0
    return float(np.corrcoef(ranks)[0, 1])
