"""Every number that fixes a training run, and the learning-rate schedule that follows from them."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

RUNTIME_FIELDS = frozenset(
    {
        "compile",
        "threads",
        "checkpoint_every",
        "checkpoint_async",
        "validate_every",
        "validation_tokens",
        "gradient_accumulation",
    }
)
"""Fields that change how a run is carried out but not what it learns; a resume may change them. (All but the
last-digit rounding: bitwise equality is promised for equal fields on an equal machine.)"""


class OptimisationConfig(BaseModel):
    """How weights are moved, whatever they learn: what pretraining and fine-tuning share."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    steps: int = Field(1000, ge=1, le=100_000_000, description="Optimiser steps.")
    optimiser: Literal["muon", "adamw"] = Field(
        "muon", description="Muon for the hidden matrices and AdamW for the rest, or AdamW for all."
    )
    learning_rate: float = Field(
        0.02, gt=0.0, le=1.0, description="Peak rate of Muon's matrices (unused by the optimiser adamw)."
    )
    adam_learning_rate: float = Field(
        0.003,
        gt=0.0,
        le=1.0,
        description="Peak rate of AdamW's parameters: embeddings, head and norms, or all.",
    )
    weight_decay: float = Field(
        0.05,
        ge=0.0,
        le=1.0,
        description="Decoupled decay of hidden matrices; embeddings and norms have none.",
    )
    momentum: float = Field(0.95, ge=0.0, lt=1.0, description="Muon's (Nesterov) momentum.")
    betas: tuple[float, float] = Field(
        (0.9, 0.95), description="AdamW's decay of both moments, each in [0, 1)."
    )
    schedule: Literal["warmup-stable-decay", "cosine"] = Field(
        "warmup-stable-decay", description="Shape of the learning rate over the run; both end at 0."
    )
    warmup_fraction: float = Field(0.02, ge=0.0, le=1.0, description="Share of the steps with a rising rate.")
    decay_fraction: float = Field(
        0.4, ge=0.0, le=1.0, description="Share of the steps with a falling rate (warmup-stable-decay only)."
    )
    gradient_clip: float = Field(1.0, gt=0.0, description="Largest norm of the gradient of all parameters.")
    spike_sigma: float = Field(
        6.0,
        ge=0.0,
        le=1000.0,
        description="A step is skipped whose loss or gradient norm is this many standard deviations above the "
        "mean of the accepted steps before it; 0 skips none.",
    )
    spike_window: int = Field(
        128,
        ge=8,
        le=100_000,
        description="Accepted steps that a spike is held against; none is skipped earlier.",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="Arithmetic of the matrix products; auto takes bf16 where the hardware has it."
    )
    checkpoint_every: int = Field(
        250, ge=1, description="Steps between checkpoints; the last step has one too."
    )
    checkpoint_async: bool = Field(
        False,
        description="Write checkpoints in a thread while training goes on, from a copy of the weights and of the "
        "optimiser's state in memory.",
    )
    validate_every: int = Field(
        250, ge=1, description="Steps between validations; the last step has one too."
    )
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of initial weights, window order and masks.")
    threads: int = Field(0, ge=0, le=4096, description="CPU threads; 0 takes all that the process may use.")

    @model_validator(mode="after")
    def _rates_agree(self) -> Self:
        if not all(0.0 <= beta < 1.0 for beta in self.betas):
            raise ValueError(f"betas {self.betas}: each must be at least 0 and below 1")
        if self.schedule == "warmup-stable-decay" and self.warmup_fraction + self.decay_fraction > 1.0:
            raise ValueError("warmup_fraction and decay_fraction together exceed 1")
        return self


class TrainingConfig(OptimisationConfig):
    """How a model is trained. Together with the model's shape, the data and the seed it fixes the weights."""

    objective: Literal["causal", "masked", "hybrid"] = Field(
        "causal", description="Predict the next word, hidden words, or both on one trunk (GPT-BERT)."
    )
    batch_size: int = Field(
        16,
        ge=1,
        le=1_000_000,
        description="Sequences per optimiser step, all ranks and micro-batches together.",
    )
    gradient_accumulation: Literal["auto"] | Annotated[int, Field(ge=1, le=65_536)] = Field(
        1,
        description="Micro-batches that a step's batch is cut into, to save memory; auto takes the fewest that fit.",
    )
    context_length: int = Field(256, ge=2, le=10_000_000, description="Tokens per training sequence.")
    mask_ratio: float = Field(
        0.3, gt=0.0, lt=1.0, description="Share of a sequence's tokens that the masked objective hides."
    )
    causal_fraction: float = Field(
        0.5, gt=0.0, lt=1.0, description="Share of a hybrid batch's sequences that predict the next word."
    )
    compile: Literal["auto", "on", "off"] = Field(
        "auto", description="torch.compile the trunk; auto does so where it works and the run is long enough."
    )
    validation_tokens: int = Field(
        32_768, ge=1, description="Tokens to score per validation, whole documents."
    )

    @model_validator(mode="after")
    def _fields_agree(self) -> Self:
        if self.gradient_accumulation != "auto" and self.batch_size % self.gradient_accumulation:
            raise ValueError(
                f"batch_size ({self.batch_size}) must be a multiple of gradient_accumulation "
                f"({self.gradient_accumulation})"
            )
        if self.objective == "hybrid" and not 0 < self.causal_rows < self.batch_size:
            raise ValueError(
                f"a hybrid batch of {self.batch_size} cannot hold both objectives; raise batch_size"
            )
        return self

    @property
    def micro_batches(self) -> int:
        """How many parts a step's batch is cut into; `models.accumulation` settles `auto` beforehand.

        Raises:
            ValueError: it is still `auto`.
        """
        if self.gradient_accumulation == "auto":
            raise ValueError("gradient_accumulation is auto: it has to be settled before training")
        return self.gradient_accumulation

    @property
    def causal_rows(self) -> int:
        """How many sequences of every batch are trained on the next word; the rest on hidden words."""
        shares = {"causal": 1.0, "masked": 0.0, "hybrid": self.causal_fraction}
        return round(shares[self.objective] * self.batch_size)

    @property
    def mixture(self) -> dict[str, int]:
        """How many sequences of every batch each objective has."""
        return {"causal_rows": self.causal_rows, "masked_rows": self.batch_size - self.causal_rows}

    def is_causal_row(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of these rows of the global batch are trained on the next word.

        They are spread evenly, so that slices of a batch (ranks, micro-batches) hold the same mixture. The
        order of windows is random, so this is a random choice of text.
        """
        place = rows % self.batch_size
        spread: NDArray[np.bool_] = (
            place + 1
        ) * self.causal_rows // self.batch_size > place * self.causal_rows // self.batch_size
        return spread


def learning_rate_factor(config: OptimisationConfig, step: int) -> float:
    """Return what the peak rates are multiplied by in step `step` (from 0); a resume needs no state.

    Linear warm-up, then constant and linear to 0 (warmup-stable-decay; Hu et al. 2024, MiniCPM), or half a
    cosine (Loshchilov & Hutter 2017). 0 would be reached one step after the last: no step is wasted.
    """
    warmup = round(config.warmup_fraction * config.steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if config.schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(1, config.steps - warmup)))
    decay = round(config.decay_fraction * config.steps)
    return min(1.0, max(0, config.steps - step) / (decay + 1)) if decay else 1.0
