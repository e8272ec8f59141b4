"""The catalogue of stages, in the order of the story. A new stage is one entry here and one core function."""

from __future__ import annotations

from tasks.stage import Stage

ingestion = Stage(
    "ingestion",
    core="tasks.sources.ingest:ingest",
    contracts={"documents.parquet": "raw_documents"},
    observe="tasks.sources.ingest:observe",
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
)
tokenization = Stage(
    "tokenization",
    core="tasks.tokenization:tokenize",
    contracts={"train.documents.parquet": "token_shards"},
)
embeddings = Stage("embeddings", core="tasks.embeddings:embed")
pretraining = Stage("pretraining", core="tasks.training:pretrain")
evaluation = Stage("evaluation", core="tasks.evaluation.evaluate:evaluate")
reporting = Stage("reporting", core="tasks.reporting.report:report")

ALL = (ingestion, cleaning, tokenization, embeddings, pretraining, evaluation, reporting)
NAMES = tuple(stage.name for stage in ALL)
