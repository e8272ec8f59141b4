"""What one step of a fine-tuning read: its examples, made again from the labelled rows, the base and the settings."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from tasks.artifacts import Artifact
from tasks.errors import ArtifactError, one_line
from tasks.passages import EXCERPT, Passage, excerpt_of

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from models.examples import Example
    from tasks.finetuning.common import Base, Lesson, Row

PREFIX = "finetuning-"
_CONFIGS = {
    "sentiment": "SentimentConfig",
    "question-answering": "QuestionAnsweringConfig",
    "translation": "TranslationConfig",
}
STAGES = tuple(f"{PREFIX}{task}" for task in _CONFIGS)


@dataclass(frozen=True)
class FineTuningReading:
    """A lesson and the numbers that decide which of its examples a step reads."""

    task: str
    lesson: Lesson
    tokenizer: Tokenizer
    steps: int
    batch_size: int
    seed: int

    def members(self, step: int) -> list[Example]:
        """The examples of ``step``, from 1."""
        from models.examples import ExampleSampler

        examples = self.lesson.examples
        sampler = ExampleSampler(examples, batch_size=self.batch_size, pad_id=0, seed=self.seed)
        return [examples[place] for place in sampler.members(step - 1)]

    def passages(self, step: int) -> Iterable[Passage]:
        """The examples of ``step``, each with the labelled row that it was made from."""
        about = {row["id"]: row for row in self.lesson.rows}
        for number, example in enumerate(self.members(step)):
            row = about[example.row]
            yield Passage(
                window=number,
                document=example.row,
                source=str(row["source"]),
                uri=str(row["uri"]),
                licence=str(row["licence"]),
                first=0,
                tokens=len(example.input_ids),
                excerpt=excerpt_of(self.tokenizer, example.input_ids, control_tokens=True),
                target=one_line(self._target(row, example), EXCERPT),
            )

    def _target(self, row: Row, example: Example) -> str:
        """What the head was to say; a translation stands in the text, after its source."""
        if self.task == "sentiment":
            return str(row["label"])
        if self.task == "translation":
            return str(row["target_text"])
        first, last = example.targets
        return (
            self.tokenizer.decode(list(example.input_ids[first : last + 1])).strip()
            if first
            else "(no answer here)"
        )


def reading_of(stage: str, config: Mapping[str, Any], inputs: Mapping[str, Artifact]) -> FineTuningReading:
    """What a fine-tuning with this configuration reads of a cleaning and a pretraining.

    Raises:
        ArtifactError: the configuration is another version's, or the base or the labelled rows cannot be used.
        DataError: there is no row to learn from.
    """
    from tasks.finetuning.common import open_base

    task = stage.removeprefix(PREFIX)
    module = importlib.import_module(f"tasks.finetuning.{task.replace('-', '_')}")
    try:
        settings = getattr(module, _CONFIGS[task]).model_validate(config)
    except ValidationError as error:
        remedy = "run again to have it built by this version"
        raise ArtifactError("was made by another version", stage=stage, remedy=remedy) from error
    base: Base = open_base(inputs)
    return FineTuningReading(
        task=task,
        lesson=module.lesson_of(inputs, settings, base),
        tokenizer=base.tokenizer,
        steps=settings.training.steps,
        batch_size=settings.training.batch_size,
        seed=settings.training.seed,
    )
