"""Small artefacts of the earlier stages in a store of their own: our sentences, an untrained model."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from models.config import ModelConfig
from models.export import save_pretrained
from models.transformer import LanguageModel
from tasks import tables
from tasks.artifacts import Artifact, Store, fingerprint_of
from tasks.tokenization import TokenizationConfig, tokenize

VOCABULARY = 300
CONTEXT = 32
DOMAINS = ("books", "social")
_TEXT = "the old river ran past a quiet mill and every child knew its slow green water by name"
_WORDS = _TEXT.split()


def artifact(
    store: Store, stage: str, write: Callable[[Path], Mapping[str, Any] | None], **key: Any
) -> Artifact:
    """Publish what `write` puts into an empty folder; its return value becomes the summary."""
    whole = {"stage": stage, **key}
    with store.locked(stage, "tiny", fingerprint_of(whole)):
        folder = store.begin(stage, "tiny", fingerprint_of(whole))
        return store.commit(stage, "tiny", whole, write(folder) or {})


def document(identity: str, text: str, domain: str, split: str) -> dict[str, Any]:
    """One row of a clean documents table."""
    return {
        "id": identity,
        "text": text,
        "domain": domain,
        "language": "en",
        "split": split,
        "words": len(text.split()),
        "bytes": len(text.encode()),
        "source": f"{domain} by us",
        "uri": f"tests:{identity}",
        "licence": "CC0-1.0",
        "sha256": "0" * 64,
    }


def documents(test: int, train: int = 30) -> list[dict[str, Any]]:
    """Random sentences; test documents are of very different lengths."""
    draw = random.Random(5)

    def text(words: int) -> str:
        return " ".join(draw.choice(_WORDS) for _ in range(words)) + "."

    rows = [document(f"train-{n}", text(draw.randint(5, 60)), DOMAINS[n % 2], "train") for n in range(train)]
    rows.append(document("validation-0", text(20), "books", "validation"))
    return rows + [
        document(f"test-{n}", text(draw.randint(3, 90)), DOMAINS[n % 2], "test") for n in range(test)
    ]


def clean(store: Store, rows: list[dict[str, Any]]) -> Artifact:
    """A cleaning artefact with these documents."""

    def write(folder: Path) -> None:
        tables.write(folder / "documents.parquet", rows, tables.CLEAN_DOCUMENTS)

    return artifact(store, "cleaning", write, rows=[row["id"] for row in rows])


def tokens(store: Store, cleaning: Artifact) -> Artifact:
    """A tokenization artefact, made by the stage itself."""

    def write(folder: Path) -> Mapping[str, Any]:
        config = TokenizationConfig(vocab_size=VOCABULARY, min_frequency=2)
        return tokenize({"cleaning": cleaning}, config, folder).model_dump(mode="json")

    return artifact(store, "tokenization", write, cleaning=cleaning.content)


def model(
    store: Store, tokenization: Artifact, objective: str = "causal", seed: int = 0, **changes: Any
) -> Artifact:
    """A pretraining artefact whose network was never trained; `uniform=True` makes its every logit equal."""
    uniform = changes.pop("uniform", False)
    index = json.loads(tokenization.file("index.json").read_text())
    shape = ModelConfig(
        vocab_size=index["vocab_size"],
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        max_position_embeddings=CONTEXT,
    )
    facts = {
        "training": {"objective": objective, "context_length": CONTEXT, "mask_ratio": 0.3},
        "tokens": 6400,
        **changes,
    }

    def write(folder: Path) -> Mapping[str, Any]:
        network = LanguageModel(shape, seed=seed)
        if uniform:
            network.model.embed_tokens.weight.data.zero_()
        save_pretrained(network, folder, tokenization.file("tokenizer.json"))
        (folder / "training.json").write_text(json.dumps(facts))
        return {"parameters": shape.parameter_count(), "tokens": 6400}

    return artifact(
        store, "pretraining", write, tokens=tokenization.content, facts=facts, seed=seed, uniform=uniform
    )


def inputs(home: Path, test: int = 12, objective: str = "causal", **changes: Any) -> dict[str, Artifact]:
    """The three inputs of the evaluation stage."""
    store = Store(home)
    cleaning = clean(store, documents(test))
    tokenization = tokens(store, cleaning)
    pretraining = model(store, tokenization, objective, **changes)
    return {"cleaning": cleaning, "tokenization": tokenization, "pretraining": pretraining}
