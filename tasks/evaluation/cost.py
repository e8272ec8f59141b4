"""What the model costs: to make, to store, to run.

Two kinds of numbers, kept apart. What follows from shapes and counts is the same on every machine and belongs
in the artefact. What a clock or a counter says differs from one second to the next; it goes to MLflow only,
and how energy was come by is in the metric's very name.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import Field

from models.flops import TrainingFlops, training_flops_per_token
from tasks.artifacts import Artifact
from tasks.config import StageConfig
from tasks.evaluation.comparison import MODEL
from tasks.evaluation.findings import Findings
from tasks.evaluation.records import Record

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from models.transformer import LanguageModel

log = logging.getLogger(__name__)

SUITE = "cost"
_JOULES_PER_WATT_HOUR = 3600.0


class CostConfig(StageConfig):
    """What is timed, and what is assumed where nothing can be measured."""

    latency_tokens: int = Field(64, ge=1, le=100_000, description="Tokens of a text whose reading is timed.")
    latency_repeats: int = Field(40, ge=2, le=10_000, description="Times it is read.")
    generated_tokens: int = Field(96, ge=1, le=100_000, description="Tokens to generate, one at a time.")
    training_steps: int = Field(
        2, ge=1, le=1000, description="Training steps, less the optimiser's part, to time."
    )
    watts_per_core: float = Field(
        10.0,
        gt=0.0,
        le=1000.0,
        description="Power of one busy core where no counter can be read; the default is a server CPU's rated "
        "power over its cores, rounded.",
    )
    gflops_per_core: float = Field(
        20.0,
        gt=0.0,
        le=1e6,
        description="Speed assumed for the estimate of training's energy that is the same on every machine.",
    )


@dataclass(frozen=True)
class Cost:
    """``deterministic`` for the artefact; ``measured`` for MLflow, by metric name."""

    deterministic: Findings
    measured: dict[str, float]


def examine_cost(
    model: LanguageModel, tokenizer: Tokenizer, pretraining: Artifact, config: CostConfig
) -> Cost:
    """Count what can be counted, and time what must be timed, of a model and the artefact it came from.

    The caller logs ``measured`` (``metric_stream.log_step(0, cost.measured)``) and writes none of it to a file.
    """
    from tasks.evaluation.measured_cost import measure

    facts = training_facts(pretraining)
    flops = training_flops_per_token(
        model.config,
        facts["objective"],
        facts["context_length"],
        mask_ratio=facts["mask_ratio"],
        causal_fraction=facts["causal_fraction"],
    )
    findings = Findings()
    findings.add(_counted(model, pretraining, facts, flops, config))
    measured = measure(model, tokenizer, facts, config)
    for name, value in measured.items():
        log.info("%s: %.6g", name, value)
    return Cost(findings, measured)


def training_facts(pretraining: Artifact) -> dict[str, Any]:
    """What ``training.json`` says about the training: objective, lengths, tokens.

    Raises:
        ArtifactError: the artefact has no such file.
    """
    content: Mapping[str, Any] = json.loads(pretraining.file("training.json").read_text(encoding="utf-8"))
    training = content["training"]
    return {
        "objective": training["objective"],
        "context_length": int(training["context_length"]),
        "mask_ratio": float(training["mask_ratio"]),
        "causal_fraction": float(training.get("causal_fraction", 0.5)),
        "batch_size": int(training.get("batch_size", 8)),
        "tokens": int(content["tokens"]),
    }


def _counted(
    model: LanguageModel,
    pretraining: Artifact,
    facts: Mapping[str, Any],
    flops: TrainingFlops,
    config: CostConfig,
) -> Iterator[Record]:
    """What is the same on every machine."""
    tokens, files = facts["tokens"], pretraining.manifest().files
    total = flops.counted * tokens
    assumed = total / (config.gflops_per_core * 1e9) * config.watts_per_core / _JOULES_PER_WATT_HOUR
    rough = (
        f"an order of magnitude: assumes that a core does {config.gflops_per_core:g} GFLOP/s "
        f"at {config.watts_per_core:g} W"
    )
    yield _record("parameters", model.config.parameter_count(), "parameters", "counted")
    yield _record(
        "model_bytes", sum(file.size for file in files.values()), "bytes", "all files of the model's folder"
    )
    yield _record("weights_bytes", _weights(files), "bytes", "files of weights alone")
    yield _record("training_tokens", tokens, "tokens", "steps x batch x context")
    yield _record(
        "training_flops", total, "FLOP", "matrix products of forward and backward, counted by operator"
    )
    yield _record(
        "training_flops_formula", flops.formula * tokens, "FLOP", "6 x weights x tokens, and attention"
    )
    yield _record("training_flops_ratio", flops.ratio, "ratio", "counted over formula")
    yield _record("training_energy_assumed", assumed, "Wh", rough)


def _weights(files: Mapping[str, Any]) -> int:
    return sum(file.size for name, file in files.items() if name.endswith(".safetensors"))


def _record(metric: str, value: float, unit: str, method: str) -> Record:
    return Record(SUITE, metric, MODEL, value=float(value), n=1, unit=unit, method=method, split="train")
