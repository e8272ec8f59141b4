"""Translation: the language model learns to go on after a source and ``<|sep|>`` with the source's translation."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from models.finetuning_config import FineTuningConfig
from tasks.artifacts import Artifact, sha256_of
from tasks.config import StageConfig
from tasks.errors import DataError
from tasks.finetuning.common import (
    Base,
    FineTuningSummary,
    Lesson,
    Row,
    labelled_rows,
    longest_input,
    open_base,
    summarise,
    teach,
    write_curves,
    write_facts,
)

if TYPE_CHECKING:
    from models.examples import Example
    from models.head_export import HeadConfig
    from models.heads import Translator
    from models.translation import TranslationEncoder

logger = logging.getLogger(__name__)

TASK = "translation"
_EXTRA = 12.0  # tokens that a translation may have beyond its source's, times the ratio
_COVERED = 0.995  # share of the training pairs that the ratio admits


class TranslationConfig(StageConfig):
    """How the translator is taught."""

    training: FineTuningConfig = Field(
        FineTuningConfig(optimiser="muon", learning_rate=0.03, adam_learning_rate=0.015, batch_size=16),
        description="Optimiser, length, batches.",
    )
    validation_rows: int = Field(
        100,
        ge=1,
        le=100_000,
        description="Validation rows to translate at most, evenly spread; the loss is taken on all that fit.",
    )


def finetune_translation(
    inputs: Mapping[str, Artifact], config: TranslationConfig, folder: Path
) -> FineTuningSummary:
    """Teach the model to translate and write it; resumes what a killed attempt left behind.

    Pairs that do not fit the model are left out and counted: half a translation teaches to stop halfway.

    Raises:
        ArtifactError: the base model or the labelled set cannot be used.
        DataError: a split has no row, or none that fits the model.
    """
    from models.head_export import HeadConfig, save_head
    from models.heads import Translator
    from models.translation import TranslationEncoder

    base = open_base(inputs)
    encoder = TranslationEncoder(base.tokenizer, base.model.config)
    lesson, held_out = lesson_of(inputs, config, base), labelled_rows(inputs, TASK, "validation")
    rows, examples, left_out = lesson.rows, lesson.examples, lesson.incomplete
    longest = longest_input(base, config.training)
    logger.info("translation: %d training pairs, %d too long for %d tokens", len(rows), left_out, longest)
    head_config = HeadConfig(task=TASK, max_tokens=longest, settings=length_settings(examples))
    taught, history = teach(
        Translator(base.model),
        examples,
        config.training,
        folder,
        base=base,
        labelled=sha256_of(inputs["cleaning"].file(f"labelled/{TASK}.parquet")),
        validate=_validation(base, encoder, held_out, head_config, config.validation_rows),
    )
    save_head(
        taught.head, folder, base.tokenizer_json, max_tokens=longest, settings=dict(head_config.settings)
    )
    write_curves(history, folder)
    summary = summarise(TASK, base, config.training, history, len(examples), left_out)
    write_facts(summary, config, folder)
    return summary


def lesson_of(inputs: Mapping[str, Artifact], config: TranslationConfig, base: Base) -> Lesson:
    """The training pairs that fit the model; the others are left out.

    Raises:
        ArtifactError: the labelled set cannot be used.
        DataError: there is no pair, or none that fits.
    """
    from models.translation import TranslationEncoder

    rows, encoder = (
        labelled_rows(inputs, TASK, "train"),
        TranslationEncoder(base.tokenizer, base.model.config),
    )
    examples = fitting_examples(rows, encoder, longest_input(base, config.training), inputs["cleaning"])
    return Lesson(rows, examples, len(rows) - len(examples))


def fitting_examples(
    rows: Sequence[Row], encoder: TranslationEncoder, max_tokens: int, cleaning: Artifact
) -> list[Example]:
    """Encode the pairs that take `max_tokens` tokens at most, both texts and control tokens together.

    Raises:
        DataError: there is none.
    """
    encoded = [
        encoder.example(str(row["source_text"]), str(row["target_text"]))._replace(row=str(row["id"]))
        for row in rows
    ]
    fitting = [example for example in encoded if len(example.input_ids) <= max_tokens]
    if not fitting:
        raise DataError(
            f"none of {len(rows)} training pairs fits {max_tokens} tokens",
            where=cleaning.file(f"labelled/{TASK}.parquet"),
            remedy="raise max_tokens, give the base model a longer context, or add shorter pairs",
        )
    return fitting


def length_settings(examples: Sequence[Example]) -> dict[str, float]:
    """How long a translation may become for its source, so that nearly all training translations fit."""
    from models.translation import LENGTH_EXTRA, LENGTH_RATIO

    ratios = sorted(
        (len(example.input_ids) - example.targets[0] - _EXTRA) / max(1, example.targets[0] - 2)
        for example in examples
    )
    ratio = ratios[min(len(ratios) - 1, math.ceil(_COVERED * len(ratios)))]
    return {LENGTH_RATIO: max(1.0, math.ceil(100 * ratio) / 100), LENGTH_EXTRA: _EXTRA}


def _validation(
    base: Base, encoder: TranslationEncoder, rows: Sequence[Row], config: HeadConfig, translated: int
) -> Callable[[Translator], dict[str, float]]:
    """Measure the loss of each target token, and chrF2++ of translations; an empty measure is left out."""
    from models.translation import room_for

    pairs = [(str(row["source_text"]), str(row["target_text"])) for row in rows]
    encoded = [encoder.example(*pair) for pair in pairs]
    scored = [e for e in encoded if len(e.input_ids) <= base.model.config.max_position_embeddings]
    fitting = [
        pair for pair in pairs if room_for(encoder.prompt(pair[0]), encoder.model, config.settings) > 0
    ]
    count = min(translated, len(fitting))
    chosen = [fitting[place * len(fitting) // count] for place in range(count)]

    def measure(head: Translator) -> dict[str, float]:
        found = {"loss": token_loss(head, scored, base.pad_id)} if scored else {}
        return found | ({"chrf": _chrf(head, base, chosen, config)} if chosen else {})

    return measure


def token_loss(head: Translator, examples: Sequence[Example], pad_id: int, batch_size: int = 32) -> float:
    """Mean loss in nats over all target tokens, whatever batch they come in."""
    import torch

    from models.examples import collate

    in_order = sorted(examples, key=lambda example: len(example.input_ids))
    loss, tokens = 0.0, 0
    with torch.inference_mode():
        for start in range(0, len(in_order), batch_size):
            batch = in_order[start : start + batch_size]
            counted = sum(len(example.input_ids) - example.targets[0] for example in batch)
            loss += float(head.loss(collate(batch, pad_id))) * counted
            tokens += counted
    return loss / tokens


def _chrf(head: Translator, base: Base, pairs: Sequence[tuple[str, str]], config: HeadConfig) -> float:
    from sacrebleu.metrics import CHRF

    from models.translation import translate

    translations = translate(head, base.tokenizer, [source for source, _ in pairs], config=config)
    return float(CHRF(word_order=2).corpus_score(translations, [[target for _, target in pairs]]).score)
