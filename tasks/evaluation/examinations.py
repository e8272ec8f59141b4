"""Every examination beyond bits per byte: the tasks, bias, abuse, memory, explanations, cost. Each may be missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from tasks import tables
from tasks.artifacts import Artifact
from tasks.cleaning import splits
from tasks.errors import ArtifactError
from tasks.evaluation import baselines
from tasks.evaluation.config import EvaluationConfig
from tasks.evaluation.cost import examine_cost
from tasks.evaluation.counterfactual import examine_swaps
from tasks.evaluation.explanation import examine_explanations
from tasks.evaluation.findings import Findings
from tasks.evaluation.memorisation import examine_memorisation
from tasks.evaluation.pair_bias import examine_pairs
from tasks.evaluation.question_answering_scores import examine_question_answering
from tasks.evaluation.sentiment_scores import examine_sentiment
from tasks.evaluation.subject import Subject
from tasks.evaluation.toxicity import examine_toxicity
from tasks.evaluation.translation_scores import examine_translation
from tasks.representation.audit import SUITE, examine_representation

if TYPE_CHECKING:
    from models.heads import Classifier
    from models.shards import TokenShard

Inputs = Mapping[str, Artifact]
Examine = Callable[..., Findings]
SENTIMENT, QUESTION_ANSWERING = "finetuning-sentiment", "finetuning-question-answering"
TRANSLATION = "finetuning-translation"
_TASKS: dict[str, Examine] = {
    SENTIMENT: examine_sentiment,
    QUESTION_ANSWERING: examine_question_answering,
    TRANSLATION: examine_translation,
}


def examinations(
    subject: Subject, inputs: Inputs, config: EvaluationConfig, measured: dict[str, float]
) -> Iterator[tuple[str, Findings]]:
    """What each examination found, by name; those that have nothing to examine are left out.

    ``measured`` takes the timings, which must not get into a file.
    """
    yield SUITE, _representation(inputs, config)
    yield from _tasks(inputs, config)
    yield from _language_model(subject, inputs, config)
    if SENTIMENT in inputs:
        yield "swaps", _swaps(inputs[SENTIMENT], config)
    heads = inputs.get(SENTIMENT), inputs.get(QUESTION_ANSWERING)
    if any(heads):
        yield (
            "explanation",
            examine_explanations(
                *heads,
                inputs["cleaning"],
                texts=config.explanation.texts,
                questions=config.explanation.questions,
                most_steps=config.explanation.most_steps,
                samples=config.bootstrap_samples,
                seed=config.seed,
            ),
        )
    cost = examine_cost(subject.model, subject.tokenizer, inputs["pretraining"], config.cost)
    measured.update(cost.measured)
    yield "cost", cost.deterministic


def _representation(inputs: Inputs, config: EvaluationConfig) -> Findings:
    """The text that the model learnt from, whatever its objective."""
    rows = tables.iterate(inputs["cleaning"].file("documents.parquet"), ["id", "text", "domain", "split"])
    training = (row for row in rows if row["split"] == splits.TRAIN)
    options = {"samples": config.bootstrap_samples, "seed": config.seed}
    return examine_representation(training, config.representation, **options)


def _tasks(inputs: Inputs, config: EvaluationConfig) -> Iterator[tuple[str, Findings]]:
    """Each fine-tuned model beside its baselines on the test rows."""
    for stage, examine in _TASKS.items():
        if stage in inputs:
            name = stage.removeprefix("finetuning-").replace("-", "_")
            found = examine(
                inputs[stage], inputs["cleaning"], samples=config.bootstrap_samples, seed=config.seed
            )
            yield name, found


def _language_model(
    subject: Subject, inputs: Inputs, config: EvaluationConfig
) -> Iterator[tuple[str, Findings]]:
    """What can only be asked of a model that predicts the next word."""
    if subject.objective == "masked":
        return
    train = _shard(inputs, "train")
    if "ingestion" in inputs:
        unigram = baselines.unigram_log_probabilities(subject.training, subject.test.vocab_size)
        yield (
            "bias",
            examine_pairs(
                subject.model,
                subject.tokenizer,
                unigram,
                inputs["ingestion"],
                context_length=subject.context_length,
                samples=config.bootstrap_samples,
                seed=config.seed,
                limit=config.pairs,
            ),
        )
    texts = subject.model, subject.tokenizer, train, subject.test
    yield "toxicity", examine_toxicity(*texts, config.toxicity, seed=config.seed)
    yield "memorisation", examine_memorisation(*texts, config.memorisation, seed=config.seed)


def _shard(inputs: Inputs, split: str) -> TokenShard:
    from models.shards import TokenShard

    return TokenShard(inputs["tokenization"].path, split)


def _swaps(artifact: Artifact, config: EvaluationConfig) -> Findings:
    from models.export import load_tokenizer
    from models.head_export import load_head

    try:
        head, facts = load_head(artifact.path)
        tokenizer = load_tokenizer(artifact.path)
    except ValueError as error:
        raise ArtifactError(str(error), stage="evaluation", remedy="run the earlier stages again") from error
    classifier: Classifier = head  # type: ignore[assignment]  # the stage that wrote it makes nothing else
    return examine_swaps(
        classifier,
        tokenizer,
        max_tokens=facts.max_tokens,
        samples=config.bootstrap_samples,
        seed=config.seed,
    )
