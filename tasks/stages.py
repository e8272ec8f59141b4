"""The catalogue of stages, in the order of the story. A new stage is one entry here and one core function."""

from __future__ import annotations

from tasks.artifacts import Artifact
from tasks.stage import Stage

ingestion = Stage(
    "ingestion",
    core="tasks.sources.ingest:ingest",
    contracts={"documents.parquet": "raw_documents"},
    observe="tasks.sources.observation:observe",
)
_LABELLED = {
    "labelled/sentiment.parquet": "labelled_sentiment",
    "labelled/question-answering.parquet": "labelled_question_answering",
    "labelled/translation.parquet": "labelled_translation",
}
cleaning = Stage(
    "cleaning",
    core="tasks.cleaning.clean:clean",
    contracts={"documents.parquet": "clean_documents", **_LABELLED},
    optional=frozenset(_LABELLED),
    observe="tasks.cleaning.names:observe",
)
_SPLITS = ("train", "validation", "test", "continuation")  # the last is what a retraining goes on with
tokenization = Stage(
    "tokenization",
    core="tasks.tokenization:tokenize",
    contracts={f"{split}.documents.parquet": "token_shards" for split in _SPLITS},
    optional=frozenset({"continuation.documents.parquet"}),
)
embeddings = Stage("embeddings", core="tasks.embeddings:embed")
pretraining = Stage("pretraining", core="tasks.training:pretrain", pages="tasks.loss_page:pages")
finetuning_sentiment = Stage("finetuning-sentiment", core="tasks.finetuning.sentiment:finetune_sentiment")
finetuning_question_answering = Stage(
    "finetuning-question-answering",
    core="tasks.finetuning.question_answering:finetune_question_answering",
)
finetuning_translation = Stage(
    "finetuning-translation", core="tasks.finetuning.translation:finetune_translation"
)
evaluation = Stage(
    "evaluation",
    core="tasks.evaluation.evaluate:evaluate",
    beside="tasks.reporting.representation_since:show",
)
reporting = Stage("reporting", core="tasks.reporting.report:report", observe="tasks.reporting.report:observe")
promotion = Stage("promotion", core="tasks.promotion.promote:promote")

ALL = (
    ingestion,
    cleaning,
    tokenization,
    embeddings,
    pretraining,
    finetuning_sentiment,
    finetuning_question_answering,
    finetuning_translation,
    evaluation,
    reporting,
    promotion,
)
NAMES = tuple(stage.name for stage in ALL)


def may_have(artifact: Artifact, file: str) -> bool:
    """Whether an artefact has a file that it may lack; one that is still to be built may have it."""
    return not artifact.content or (artifact.path / file).is_file()
