"""Everything an examination needs, opened and checked to belong together."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tasks import tables
from tasks.artifacts import Artifact
from tasks.errors import ArtifactError, ConfigError, DataError
from tasks.evaluation.config import EvaluationConfig

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

    from models.shards import TokenShard
    from models.transformer import LanguageModel


@dataclass(frozen=True)
class Subject:
    """A model, what it learned from, and the documents it is examined on."""

    model: LanguageModel
    tokenizer: Tokenizer
    objective: str  # causal, masked or hybrid
    context_length: int
    stride: int
    mask_ratio: float
    training_tokens: int  # seen in training, repetitions counted
    precision: torch.dtype
    training: NDArray[np.int64]  # token ids that the n-grams learn from
    test: TokenShard
    rows: list[int]  # of the test shard's table of documents
    domains: NDArray[np.str_]  # of these documents


def open_subject(inputs: Mapping[str, Artifact], config: EvaluationConfig) -> Subject:
    """Open the model, the shards and the chosen test documents.

    Raises:
        DataError: there is no text to examine on, or a document is in no domain.
        ArtifactError: a file cannot be used, or the model and the tokens do not belong together.
        ConfigError: the stride is longer than the context.
    """
    from models.execution import resolve_precision
    from models.export import load_pretrained, load_tokenizer
    from models.scoring import choose_documents
    from models.shards import TokenShard
    from tasks.evaluation.baselines import training_tokens

    folder, shards = inputs["pretraining"], inputs["tokenization"]
    _refuse_other_tokenizer(folder, shards)
    facts = _training_facts(folder)
    with _unusable_files():
        device = _device()
        model = load_pretrained(folder.path).to(device)
        test, train = TokenShard(shards.path, "test"), TokenShard(shards.path, "train")
        rows = choose_documents(test, config.test_tokens or len(test))
        training = training_tokens(train, config.ngram_train_tokens, config.seed)
        tokenizer = load_tokenizer(folder.path)
    if not rows:
        raise DataError(
            "the test split has no text",
            stage="evaluation",
            where=test.path,
            remedy="add documents or hold out more",
        )
    context = int(facts["context_length"])
    return Subject(
        model=model,
        tokenizer=tokenizer,
        objective=facts["objective"],
        context_length=context,
        stride=_stride(config.stride, context),
        mask_ratio=float(facts["mask_ratio"]),
        training_tokens=int(facts["tokens"]),
        precision=resolve_precision(config.precision, device),
        training=training,
        test=test,
        rows=rows,
        domains=_domains(inputs["cleaning"], [test.documents.ids[row] for row in rows]),
    )


def _device() -> torch.device:
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _stride(wanted: int | None, context_length: int) -> int:
    if wanted is not None and wanted > context_length:
        raise ConfigError(
            f"{wanted} tokens are more than the model's context of {context_length}: text would be skipped",
            where="evaluation.stride",
            remedy=f"give at most {context_length}, or leave it out",
        )
    return wanted or max(1, context_length // 2)


def _refuse_other_tokenizer(model: Artifact, shards: Artifact) -> None:
    if model.file("tokenizer.json").read_bytes() != shards.file("tokenizer.json").read_bytes():
        raise ArtifactError(
            "the model's tokenizer is not the one that made the tokens",
            stage="evaluation",
            where=model.path,
            remedy="train the model on these tokens",
        )


def _training_facts(model: Artifact) -> dict[str, Any]:
    """What ``training.json`` says about how the model was trained."""
    path = model.file("training.json")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        wanted = {name: content["training"][name] for name in ("objective", "context_length", "mask_ratio")}
        return wanted | {"tokens": content["tokens"] + content.get("tokens_before", 0)}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"does not tell how the model was trained ({error!r})", where=path, remedy="run pretraining again"
        ) from error


def _domains(cleaning: Artifact, ids: list[str]) -> NDArray[np.str_]:
    """The domain of each document, in the order of ``ids``."""
    path = cleaning.file("documents.parquet")
    table = tables.read_arrow(path, ["id", "domain"])
    domain_of = dict(zip(table["id"].to_pylist(), table["domain"].to_pylist(), strict=True))
    unknown = [name for name in ids if name not in domain_of]
    if unknown:
        raise DataError(
            f"{len(unknown)} test documents are not in it, the first is {unknown[0]!r}",
            stage="evaluation",
            where=path,
            remedy="tokenise these documents",
        )
    return np.array([domain_of[name] for name in ids], dtype=np.str_)


@contextmanager
def _unusable_files() -> Iterator[None]:
    """Turn the ValueErrors with which ``models`` refuses a file into one line for people."""
    try:
        yield
    except ValueError as error:
        raise ArtifactError(str(error), stage="evaluation", remedy="run the earlier stages again") from error
