"""What a model must show before it may be the champion."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from tasks.config import StageConfig

_NAME = Field(..., pattern=r"^\w{1,64}$", description="As in the evaluation's tables.")


class Bar(StageConfig):
    """What a model without a rival to beat must be better than."""

    suite: str = _NAME
    metric: str = _NAME
    baseline: str = _NAME
    by: float = Field(0.0, ge=0.0, le=1e6, description="By how much at least, in the metric's unit.")
    lower_is_better: bool = Field(False, description="Whether a lower value is the better one.")


class Margin(StageConfig):
    """How much worse than the champion still counts as equal."""

    suite: str = _NAME
    metric: str = _NAME
    margin: float = Field(..., gt=0.0, le=1e6, description="In the metric's unit.")
    lower_is_better: bool = Field(False, description="Whether a lower value is the better one.")


_BARS = (
    Bar(suite="language_modelling", metric="bits_per_byte", baseline="unigram", lower_is_better=True),
    Bar(suite="language_modelling", metric="masked_loss", baseline="unigram", lower_is_better=True),
    Bar(suite="sentiment", metric="correct", baseline="majority"),
)
_MARGINS = (
    Margin(suite="language_modelling", metric="bits_per_byte", margin=0.01, lower_is_better=True),
    Margin(suite="language_modelling", metric="masked_loss", margin=0.02, lower_is_better=True),
    Margin(suite="sentiment", metric="correct", margin=0.04),
    Margin(suite="question_answering", metric="f1", margin=0.04),
    Margin(suite="translation", metric="chrf", margin=2.0),
)


class PromotionConfig(StageConfig):
    """The gates. A first model faces the bars, a later one the margins of the champion."""

    bars: tuple[Bar, ...] = Field(
        _BARS,
        max_length=100,
        description="What a first model must beat, where it was measured; also what a model must beat at a "
        "task that the champion cannot do.",
    )
    margins: tuple[Margin, ...] = Field(
        _MARGINS,
        min_length=1,
        max_length=100,
        description="By how little a model may fall behind the champion; measures not named are not judged.",
    )
    confidence: float = Field(0.95, ge=0.5, le=0.999, description="Of the intervals, both sides together.")
    bootstrap_samples: int = Field(
        10_000, ge=200, le=1_000_000, description="Times the documents or items are drawn anew."
    )
    minimum_clusters: int = Field(
        10,
        ge=2,
        le=1_000_000,
        description="Independent documents or items below which a comparison is inconclusive.",
    )
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of the drawings.")
    registered_model: str = Field(
        "unveil",
        pattern=r"^[A-Za-z][\w-]{0,63}$",
        description="Name in the model registry; only models of one name compete.",
    )

    @model_validator(mode="after")
    def _nothing_twice(self) -> Self:
        bars = [(bar.suite, bar.metric, bar.baseline) for bar in self.bars]
        margins = [(margin.suite, margin.metric) for margin in self.margins]
        for name, values in (("bars", bars), ("margins", margins)):
            if len(set(values)) != len(values):
                raise ValueError(f"{name}: each measure may be given once")
        return self
