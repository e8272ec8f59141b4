"""What one step of a fine-tuning read: the labelled rows behind the examples that its number stands for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks import tables
from tasks.artifacts import Artifact
from tasks.passages import Passage, excerpt_of, provenance
from tasks.vocabulary import load_tokenizer

if TYPE_CHECKING:
    from models.examples import Example


@dataclass(frozen=True)
class Lesson:
    """The examples of a finished fine-tuning and the numbers that decide which of them a step reads."""

    examples: tuple[Example, ...]
    tokenizer: Path
    steps: int
    batch_size: int
    seed: int

    def members(self, step: int) -> list[Example]:
        """The examples of ``step``, from 1."""
        from models.examples import ExampleSampler

        sampler = ExampleSampler(self.examples, batch_size=self.batch_size, pad_id=0, seed=self.seed)
        return [self.examples[place] for place in sampler.members(step - 1)]


def lesson_of(artifact: Artifact, training: Mapping[str, Any]) -> Lesson:
    """What the fine-tuning that made this artefact read, with these settings."""
    from models.examples import Example

    rows = tables.iterate(artifact.file("examples.parquet"))
    examples = tuple(Example(tuple(row["input_ids"]), tuple(row["targets"]), row["row"]) for row in rows)
    return Lesson(
        examples=examples,
        tokenizer=artifact.file("tokenizer.json"),
        steps=int(training["steps"]),
        batch_size=int(training["batch_size"]),
        seed=int(training["seed"]),
    )


def passages(lesson: Lesson, step: int, labelled: Path) -> Iterable[Passage]:
    """The examples of a step, each with the row of the labelled table that it was made from."""
    tokenizer, members = load_tokenizer(lesson.tokenizer), lesson.members(step)
    about = provenance(labelled, {example.row for example in members})
    for number, example in enumerate(members):
        known = about.get(example.row, {})
        yield Passage(
            window=number,
            document=example.row,
            source=str(known.get("source", "")),
            uri=str(known.get("uri", "")),
            licence=str(known.get("licence", "")),
            first=0,
            tokens=len(example.input_ids),
            excerpt=excerpt_of(tokenizer, example.input_ids, control_tokens=True),
        )
