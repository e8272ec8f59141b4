"""Every number that fixes a fine-tuning."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from models.training_config import OptimisationConfig


class FineTuningConfig(OptimisationConfig):
    """How a head and the trunk under it are taught a task."""

    steps: int = Field(600, ge=1, le=100_000_000, description="Optimiser steps.")
    batch_size: int = Field(32, ge=1, le=1_000_000, description="Examples per step.")
    max_tokens: int = Field(
        128,
        ge=8,
        le=1_000_000,
        description="Tokens of an example at most; the model's context bounds it too.",
    )
    optimiser: Literal["muon", "adamw"] = Field("adamw", description="Muon and AdamW, or AdamW for all.")
    learning_rate: float = Field(0.01, gt=0.0, le=1.0, description="Peak rate of Muon's matrices.")
    adam_learning_rate: float = Field(0.001, gt=0.0, le=1.0, description="Peak rate of AdamW's parameters.")
    schedule: Literal["warmup-stable-decay", "cosine"] = Field(
        "cosine", description="Shape of the learning rate over the run; both end at 0."
    )
    warmup_fraction: float = Field(0.1, ge=0.0, le=1.0, description="Share of the steps with a rising rate.")
    spike_sigma: float = Field(
        0.0,
        ge=0.0,
        le=1000.0,
        description="As in pretraining, but off: once a task is learned the losses are near 0, and what the guard "
        "would refuse are the few examples left to learn from.",
    )
