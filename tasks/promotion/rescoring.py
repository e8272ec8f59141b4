"""The champion on the challenger's test set, where it was not measured on the very same one.

Bits per byte compares models with different tokenizers, so the champion reads the documents with its own. The
loss at hidden words does not: what is hidden are tokens.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks import tables
from tasks.artifacts import Artifact
from tasks.errors import ArtifactError
from tasks.evaluation.config import EvaluationConfig
from tasks.evaluation.findings import Item

if TYPE_CHECKING:
    from models.scoring import DocumentScores
    from models.shards import TokenShard

# By fine-tuning stage: ``(model, cleaning, *, samples, seed) -> Findings``.
EXAMINERS = {
    "finetuning-sentiment": "tasks.evaluation.sentiment_scores:examine_sentiment",
    "finetuning-question-answering": "tasks.evaluation.question_answering_scores:examine_question_answering",
    "finetuning-translation": "tasks.evaluation.translation_scores:examine_translation",
}
_SPLIT = "test"
_FEWEST_DRAWS = 100  # the examiner's own intervals are not used here


def document_nats(
    model: Artifact, cleaning: Artifact, ids: list[str], config: EvaluationConfig, scratch: Path
) -> dict[str, float]:
    """Total -ln p that a model with its own tokenizer gives each of these documents.

    Args:
        model: a pretraining artefact.
        cleaning: holds the documents' text.
        ids: which documents.
        config: how the challenger was measured: windows and arithmetic are taken from it.
        scratch: an existing folder for the tokens, which are removed again.

    Raises:
        ArtifactError: the model or its tokenizer cannot be used.
    """
    from models.execution import reproducible, resolve_precision
    from models.export import load_pretrained
    from models.scoring import evaluate_documents

    facts = training_facts(model)
    context = int(facts["context_length"])
    with tempfile.TemporaryDirectory(dir=scratch, prefix=".tokens-") as folder, reproducible(config.threads):
        try:
            shard = _tokens(model, cleaning, set(ids), Path(folder))
            network = load_pretrained(model.path).to(_device())
            found: DocumentScores = evaluate_documents(
                network,
                shard,
                context_length=context,
                stride=min(config.stride or max(1, context // 2), context),
                precision=resolve_precision(config.precision, _device()),
            )
        except ValueError as error:
            raise ArtifactError(str(error), stage="promotion", remedy="train the champion again") from error
    return dict(zip(found.ids, found.nats.tolist(), strict=True))


def hidden_word_nats(
    model: Artifact, tokenization: Artifact, ids: list[str], like: Artifact, config: EvaluationConfig
) -> dict[str, float]:
    """Total -ln p that a model gives the hidden words of these documents, hidden as for the model ``like``.

    Both must have one tokenizer.
    """
    from models.execution import reproducible, resolve_precision
    from models.export import load_pretrained
    from models.shards import TokenShard
    from tasks.evaluation.masked import score_hidden_words

    facts = training_facts(like)
    shard = TokenShard(tokenization.path, _SPLIT)
    place = {name: row for row, name in enumerate(shard.documents.ids)}
    with reproducible(config.threads):
        network = load_pretrained(model.path).to(_device())
        if network.config.max_position_embeddings < facts["context_length"]:
            return {}
        found = score_hidden_words(
            network,
            shard,
            [place[name] for name in ids],
            np.zeros(shard.vocab_size),
            context_length=int(facts["context_length"]),
            ratio=float(facts["mask_ratio"]),
            seed=config.seed,
            precision=resolve_precision(config.precision, _device()),
        )
    return dict(zip(ids, found.model.tolist(), strict=True))


def task_items(head: Artifact, cleaning: Artifact, seed: int) -> list[Item]:
    """What a fine-tuned model makes of the test items of its task."""
    module, _, name = EXAMINERS[head.stage].partition(":")
    examine: Callable[..., Any] = getattr(import_module(module), name)
    items: list[Item] = examine(head, cleaning, samples=_FEWEST_DRAWS, seed=seed).items
    return items


def training_facts(model: Artifact) -> dict[str, Any]:
    """Objective, context length and share of hidden tokens that a model was trained with.

    Raises:
        ArtifactError: it does not tell.
    """
    path = model.file("training.json")
    try:
        training = json.loads(path.read_text(encoding="utf-8"))["training"]
        return {name: training[name] for name in ("objective", "context_length", "mask_ratio")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"does not tell how the model was trained ({error!r})", where=path, remedy="run pretraining again"
        ) from error


def _tokens(model: Artifact, cleaning: Artifact, ids: set[str], folder: Path) -> TokenShard:
    from models.shards import TokenShard
    from tasks.token_shards import write_index, write_shard
    from tasks.vocabulary import load_tokenizer

    tokenizer = load_tokenizer(model.file("tokenizer.json"))
    rows = (
        row for row in tables.iterate(cleaning.file("documents.parquet"), ["id", "text"]) if row["id"] in ids
    )
    tally = write_shard(folder, _SPLIT, rows, tokenizer, verify_every=100)
    write_index(folder, tokenizer.get_vocab_size(), {_SPLIT: tally})
    return TokenShard(folder, _SPLIT)


def _device() -> Any:
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
