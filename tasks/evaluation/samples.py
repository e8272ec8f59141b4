"""What the model writes, and how much it repeats itself.

Small models fall into loops, above all when the likeliest token is always taken (Holtzman et al. 2020). Two
numbers show it: ``distinct_2``, the share of different pairs among all pairs of neighbouring tokens (Li et
al. 2016), and ``repetition_4``, the share of 4-grams that stood before in the same text (Welleck et al.
2020). Both depend on the length, so human text from the test split is measured beside them, cut to the same
length.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from tasks.errors import ConfigError
from tasks.evaluation.config import EvaluationConfig, SamplePrompt
from tasks.evaluation.records import Record, rounded, rounded_or_none

if TYPE_CHECKING:
    from models.generation import GenerationStep
    from tasks.evaluation.subject import Subject

TEST_TEXT = "test_text"
REPETITION, DISTINCT = "repetition_4", "distinct_2"


@dataclass(frozen=True)
class Sample:
    """One continuation of a prompt, with the steps that made it."""

    prompt: SamplePrompt
    temperature: float
    seed: int
    steps: tuple[GenerationStep, ...]

    @property
    def text(self) -> str:
        """The continuation."""
        return "".join(step.text for step in self.steps)

    @property
    def tokens(self) -> list[int]:
        """Its tokens, without the one that ended it."""
        return [step.token_id for step in self.steps if step.finish_reason != "end"]


def draw_samples(subject: Subject, config: EvaluationConfig) -> list[Sample]:
    """Continue every prompt at every temperature.

    Raises:
        ConfigError: a prompt that the model cannot take, such as one longer than its context.
    """
    return [
        _draw(subject, config, prompt, temperature, config.seed + number)
        for number, prompt in enumerate(config.prompts)
        for temperature in config.temperatures
    ]


def _draw(
    subject: Subject, config: EvaluationConfig, prompt: SamplePrompt, temperature: float, seed: int
) -> Sample:
    from models.generation import GenerationConfig, generate_steps

    settings = GenerationConfig(
        max_new_tokens=config.max_new_tokens,
        temperature=temperature,
        top_k=config.top_k,
        top_p=config.top_p,
        seed=seed,
        stop=(),
        top_candidates=config.candidates_shown,
        max_prompt_characters=len(prompt.text),
    )
    try:
        steps = tuple(generate_steps(subject.model, subject.tokenizer, prompt.text, settings))
    except ValueError as error:
        where = f"evaluation.prompts ({prompt.domain})"
        raise ConfigError(
            str(error), stage="evaluation", where=where, remedy="give a shorter prompt"
        ) from error
    return Sample(prompt, temperature, seed, steps)


def describe(samples: Sequence[Sample], config: EvaluationConfig) -> dict[str, Any]:
    """The content of ``samples.json``: every sample, and the first steps of one with their candidates."""
    settings = {"max_new_tokens": config.max_new_tokens, "top_k": config.top_k, "top_p": config.top_p}
    greediest = min(samples, key=lambda sample: sample.temperature, default=None)
    return {
        "settings": settings,
        "samples": [_described(sample) for sample in samples],
        "steps": None if greediest is None else _analysed(greediest, config.steps_shown),
    }


def _described(sample: Sample) -> dict[str, Any]:
    return {
        "domain": sample.prompt.domain,
        "prompt": sample.prompt.text,
        "temperature": sample.temperature,
        "seed": sample.seed,
        "text": sample.text,
        "tokens": len(sample.tokens),
        "finish_reason": sample.steps[-1].finish_reason,
        DISTINCT: rounded_or_none(distinct(sample.tokens, 2)),
        REPETITION: rounded_or_none(repetition(sample.tokens, 4)),
    }


def _analysed(sample: Sample, shown: int) -> dict[str, Any]:
    steps = [
        {
            "step": step.step,
            "context_tokens": step.context_tokens,
            "candidates": [
                {
                    "token_id": each.token_id,
                    "text": each.text,
                    "probability": rounded(each.probability),
                }
                for each in step.candidates
            ],
            "token_id": step.token_id,
            "probability": rounded(step.probability),
            "text": step.text,
            "finish_reason": step.finish_reason,
        }
        for step in sample.steps[:shown]
    ]
    return {
        "prompt": sample.prompt.text,
        "temperature": sample.temperature,
        "seed": sample.seed,
        "steps": steps,
    }


def distinct(tokens: Sequence[int], n: int) -> float | None:
    """Share of different n-grams among all n-grams; None for a text shorter than ``n``."""
    grams = [tuple(tokens[at : at + n]) for at in range(len(tokens) - n + 1)]
    return len(set(grams)) / len(grams) if grams else None


def repetition(tokens: Sequence[int], n: int) -> float | None:
    """Share of n-grams that stood before in the same text; None for a text shorter than ``n``."""
    share = distinct(tokens, n)
    return None if share is None else 1.0 - share


def measure_repetition(
    samples: Sequence[Sample], subject: Subject, config: EvaluationConfig
) -> Iterator[Record]:
    """Mean repetition at each temperature, and that of human text of the same length."""
    length = config.max_new_tokens
    for temperature in config.temperatures:
        texts = [sample.tokens for sample in samples if sample.temperature == temperature]
        yield from _repetition("model", f"temperature_{temperature:g}", texts, length)
    yield from _repetition(TEST_TEXT, "", _openings(subject, length), length)


def _openings(subject: Subject, length: int) -> list[list[int]]:
    """The first tokens of every test document that is long enough."""
    table, tokens = subject.test.documents, subject.test.tokens
    spans = [(int(table.starts[row]) + 1, int(table.ends[row])) for row in subject.rows]
    return [tokens[at : at + length].tolist() for at, end in spans if end - at >= length]


def _repetition(model: str, condition: str, texts: Sequence[Sequence[int]], length: int) -> Iterator[Record]:
    for metric, measure, n in ((REPETITION, repetition, 4), (DISTINCT, distinct, 2)):
        values = [value for text in texts if (value := measure(text, n)) is not None]
        if values:
            yield Record(
                suite="generation",
                metric=metric,
                model=model,
                condition=condition,
                value=fmean(values),
                n=len(values),
                unit="share",
                method=f"mean over texts of at most {length} tokens",
            )
