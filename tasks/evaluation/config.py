"""What is measured, on how much text, with how much certainty."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tasks.config import StageConfig
from tasks.evaluation.cost import CostConfig
from tasks.evaluation.explanation import ExplanationConfig
from tasks.evaluation.memorisation import MemorisationConfig
from tasks.evaluation.toxicity import ToxicityConfig
from tasks.representation.audit import RepresentationConfig

Order = Annotated[int, Field(ge=2, le=8)]
Temperature = Annotated[float, Field(ge=0.0, le=10.0, allow_inf_nan=False)]


class SamplePrompt(StageConfig):
    """The beginning of a text for the model to continue."""

    domain: str = Field(..., min_length=1, max_length=64, description="What kind of text it stands for.")
    text: str = Field(..., max_length=10_000, description="The prompt; it may be empty.")


_PROMPTS = (
    SamplePrompt(domain="books", text="And the king said to his servants, Go out into the"),
    SamplePrompt(domain="articles", text="The river rises in the north of the country and flows through"),
    SamplePrompt(domain="web", text="To create a new connection, call the function with the name of the"),
    SamplePrompt(domain="social", text="I really don't know why"),
)


class EvaluationConfig(StageConfig):
    """How the trained model is examined. Every number is measured on the test split."""

    test_tokens: int = Field(
        300_000,
        ge=0,
        description="Test tokens to score at most, in whole documents; 0 scores all.",
    )
    stride: int | None = Field(
        None, ge=1, description="Tokens between the windows of a long document; by default half the context."
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto",
        description="Arithmetic of the network; auto takes bf16 where the hardware has it: half the time, "
        "and bits per byte that differ by about 0.0001.",
    )
    ngram_orders: tuple[Order, ...] = Field(
        (3, 5), description="Orders of the Kneser-Ney models to compare with; a unigram is always there."
    )
    ngram_train_tokens: int = Field(
        20_000_000,
        ge=0,
        description="Tokens the n-grams learn from at most, in whole documents; 0 is all.",
    )
    bootstrap_samples: int = Field(
        2000, ge=100, le=100_000, description="Times the documents are drawn anew for a 95 % interval."
    )
    prompts: tuple[SamplePrompt, ...] = Field(
        _PROMPTS, max_length=100, description="Beginnings of texts for the model to continue."
    )
    temperatures: tuple[Temperature, ...] = Field(
        (0.0, 0.8),
        min_length=1,
        max_length=10,
        description="Each continues every prompt; 0 is greedy.",
    )
    max_new_tokens: int = Field(60, ge=1, le=10_000, description="Tokens of a sample at most.")
    top_k: int = Field(0, ge=0, description="Draw from the k likeliest tokens only; 0 is no limit.")
    top_p: float = Field(
        0.95, gt=0.0, le=1.0, description="Draw from the smallest set of tokens with this much probability."
    )
    steps_shown: int = Field(
        8, ge=1, le=200, description="Steps of the first greedy sample kept with their candidates."
    )
    candidates_shown: int = Field(5, ge=1, le=50, description="Likeliest next tokens kept for each step.")
    pairs: int = Field(
        0, ge=0, le=1_000_000, description="Sentence pairs of each bias set to score at most; 0 is all."
    )
    toxicity: ToxicityConfig = Field(ToxicityConfig(), description="Listed words in generated text.")
    memorisation: MemorisationConfig = Field(MemorisationConfig(), description="Text it knows by heart.")
    representation: RepresentationConfig = Field(
        RepresentationConfig(), description="Who the training text speaks of."
    )
    explanation: ExplanationConfig = Field(ExplanationConfig(), description="How far explanations hold.")
    cost: CostConfig = Field(CostConfig(), description="What it takes to make and to run.")
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of bootstrap, samples and hidden words.")
    threads: int = Field(0, ge=0, le=4096, description="CPU threads; 0 takes all that the process may use.")

    @model_validator(mode="after")
    def _nothing_twice(self) -> Self:
        for name in ("ngram_orders", "temperatures"):
            values = getattr(self, name)
            if len(set(values)) != len(values):
                raise ValueError(f"{name} {list(values)}: each value may be given once")
        return self
