"""Fine-tuning for translation as a stage: what it learns from, what it leaves out, what it writes."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from models.finetuning_config import FineTuningConfig
from models.head_export import load_head
from models.heads import Translator
from models.translation import LENGTH_EXTRA, LENGTH_RATIO, room_for
from tasks import tables
from tasks.artifacts import Artifact, Store
from tasks.errors import DataError
from tasks.finetuning.common import FineTuningSummary, open_base
from tasks.finetuning.translation import (
    TranslationConfig,
    finetune_translation,
    length_settings,
    token_loss,
)
from tests.tasks.evaluation import tiny_inputs

WORDS = {"river": "fleuve", "mill": "moulin", "old": "vieux", "slow": "lent", "child": "enfant"}
TRAINING = FineTuningConfig(
    steps=6,
    batch_size=4,
    max_tokens=64,
    optimiser="muon",
    learning_rate=0.02,
    adam_learning_rate=0.01,
    precision="fp32",
    threads=1,
    validate_every=3,
    checkpoint_every=3,
)
CONFIG = TranslationConfig(training=TRAINING, validation_rows=3)


def pair(identity: str, source: str, target: str, split: str) -> dict[str, Any]:
    return {
        "id": identity,
        "source_text": source,
        "target_text": target,
        "split": split,
        "source": "ours",
        "uri": f"tests:{identity}",
        "licence": "CC0-1.0",
        "sha256": "0" * 64,
    }


def pairs(train: int = 20, validation: int = 5, test: int = 4) -> list[dict[str, Any]]:
    """Two words, translated one by one, and now and then a placeholder."""
    draw, rows = random.Random(2), []
    for split, count in (("train", train), ("validation", validation), ("test", test)):
        for number in range(count):
            words = [draw.choice(list(WORDS)) for _ in range(2)]
            tail = " {n}" if number % 3 == 0 else ""
            source, target = " ".join(words) + tail, " ".join(WORDS[word] for word in words) + tail
            rows.append(pair(f"{split}-{number}", source, target, split))
    return rows


def inputs(home: Path, rows: list[dict[str, Any]]) -> dict[str, Artifact]:
    """An untrained base model and a cleaning artefact with these pairs."""
    store = Store(home)

    def write(folder: Path) -> None:
        tables.write(folder / "documents.parquet", tiny_inputs.documents(4), tables.CLEAN_DOCUMENTS)
        tables.write(folder / "labelled" / "translation.parquet", rows, tables.TRANSLATION)

    cleaning = tiny_inputs.artifact(store, "cleaning", write, rows=rows)
    tokenization = tiny_inputs.tokens(store, tiny_inputs.clean(store, tiny_inputs.documents(4)))
    return {"cleaning": cleaning, "pretraining": tiny_inputs.model(store, tokenization)}


def run(given: dict[str, Artifact], folder: Path, config: TranslationConfig = CONFIG) -> FineTuningSummary:
    folder.mkdir()
    return finetune_translation(given, config, folder)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and "checkpoints" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_it_writes_a_translator_with_its_curves_and_facts(tmp_path: Path) -> None:
    given = inputs(tmp_path / "home", pairs())
    summary = run(given, tmp_path / "out")
    assert (summary.task, summary.steps, summary.examples, summary.left_out) == ("translation", 6, 20, 0)
    assert summary.validation.keys() == {"loss", "chrf"}
    head, config = load_head(tmp_path / "out")
    assert isinstance(head, Translator)
    assert config.max_tokens == tiny_inputs.CONTEXT  # the context is shorter than the wish
    assert config.settings.keys() == {LENGTH_RATIO, LENGTH_EXTRA}
    curves = tables.read_arrow(tmp_path / "out" / "curves.parquet").to_pylist()
    assert [row["step"] for row in curves if row["validation_chrf"] is not None] == [3, 6]
    facts = json.loads((tmp_path / "out" / "finetuning.json").read_text())
    assert facts["summary"] == summary.model_dump(mode="json")


def test_a_rerun_writes_the_same_bytes_and_the_test_split_changes_nothing(tmp_path: Path) -> None:
    rows = pairs()
    other = [row | {"target_text": "autre"} if row["split"] == "test" else row for row in rows]
    run(inputs(tmp_path / "home", rows), tmp_path / "first")
    run(inputs(tmp_path / "home", rows), tmp_path / "second")
    run(inputs(tmp_path / "home", other), tmp_path / "third")
    assert contents(tmp_path / "first") == contents(tmp_path / "second") == contents(tmp_path / "third")


def test_pairs_too_long_for_the_model_are_left_out_and_counted(tmp_path: Path) -> None:
    long = pair("long", "river " * 60, "fleuve " * 60, "train")
    held_out = pair("long-validation", "mill " * 60, "moulin " * 60, "validation")
    summary = run(inputs(tmp_path / "a", [*pairs(), long, held_out]), tmp_path / "with")
    assert (summary.examples, summary.left_out) == (20, 1)
    assert contents(tmp_path / "with")["model.safetensors"]
    without = run(inputs(tmp_path / "b", pairs()), tmp_path / "without")
    assert summary.validation == without.validation
    with pytest.raises(DataError, match="none of 1 training pairs fits"):
        rows = [long, *(row for row in pairs() if row["split"] != "train")]
        run(inputs(tmp_path / "c", rows), tmp_path / "none")


def test_it_learns(tmp_path: Path) -> None:
    given = inputs(tmp_path / "home", pairs(train=60))
    short = run(given, tmp_path / "short", CONFIG)
    training = TRAINING.model_copy(update={"steps": 120, "validate_every": 120, "checkpoint_every": 120})
    long = run(given, tmp_path / "long", TranslationConfig(training=training))
    assert long.validation["loss"] < 0.6 * short.validation["loss"]
    assert long.validation["chrf"] > short.validation["chrf"]


def test_the_validation_loss_is_a_mean_over_target_tokens(tmp_path: Path) -> None:
    import torch

    from models.translation import TranslationEncoder

    base = open_base(inputs(tmp_path, pairs()))
    encoder = TranslationEncoder(base.tokenizer, base.model.config)
    examples = [encoder.example("river", "fleuve"), encoder.example("old mill {n}", "vieux {n}")]
    head = Translator(base.model).eval()
    nats, tokens = 0.0, 0
    for example in examples:
        with torch.no_grad():
            scores = base.model(torch.tensor([example.input_ids]))[0].log_softmax(-1)
        for place in range(example.targets[0], len(example.input_ids)):
            nats -= float(scores[place - 1, example.input_ids[place]])
            tokens += 1
    for size in (1, 2):
        assert token_loss(head, examples, base.pad_id, size) == pytest.approx(nats / tokens, abs=1e-4)


def test_nearly_every_training_translation_may_be_as_long_as_it_is(tmp_path: Path) -> None:
    from models.translation import TranslationEncoder

    base = open_base(inputs(tmp_path, pairs()))
    encoder = TranslationEncoder(base.tokenizer, base.model.config)
    texts = [("old", "vieux"), ("a", "un deux"), ("old mill", "v")]
    settings = length_settings([encoder.example(*each) for each in texts])
    for source, target in texts:
        written = len(encoder.example(source, target).input_ids) - len(encoder.prompt(source).input_ids)
        assert room_for(encoder.prompt(source), base.model.config, settings) >= written
