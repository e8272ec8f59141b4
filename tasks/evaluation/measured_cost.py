"""What the clock says about a model on this machine, now. None of it may go into an artefact."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from models.energy import energy, timed

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from models.transformer import LanguageModel
    from tasks.evaluation.cost import CostConfig

_PROMPT = "The"
_WARM_UP = 3
_TIMED_TOKENS = 2048  # of a training step at most: a large run's batch does not fit here


def measure(
    model: LanguageModel, tokenizer: Tokenizer, facts: Mapping[str, Any], config: CostConfig
) -> dict[str, float]:
    """Latency, speed, memory and energy of a model; names end in their units.

    Restores the model's mode and leaves no gradients behind.
    """
    import psutil

    was_training = model.training
    model.eval()
    try:
        found = _latency(model, config)
        if facts["objective"] != "masked":
            found |= _generation(model, tokenizer, config)
    finally:
        model.train(was_training)
    found["resident_memory_bytes"] = float(psutil.Process().memory_info().rss)
    if (peak := _peak_memory()) is not None:
        found["process_peak_memory_bytes"] = peak
    return {f"cost/{name}": value for name, value in (found | _training(model, facts, config)).items()}


def _latency(model: LanguageModel, config: CostConfig) -> dict[str, float]:
    """One text of classification's size at a time."""
    import torch

    device = model.model.embed_tokens.weight.device
    length = min(config.latency_tokens, model.config.max_position_embeddings)
    ids = torch.zeros(1, length, dtype=torch.long, device=device)
    seconds = []
    with torch.inference_mode():
        for number in range(_WARM_UP + config.latency_repeats):
            spent = timed(lambda: _finished(model.model(ids)[0, -1].cpu()))
            if number >= _WARM_UP:
                seconds.append(spent.seconds)
    p50, p95 = np.quantile(seconds, [0.5, 0.95])
    return {"forward_p50_ms": 1000 * float(p50), "forward_p95_ms": 1000 * float(p95)}


def _generation(model: LanguageModel, tokenizer: Tokenizer, config: CostConfig) -> dict[str, float]:
    """Text as people get it, one token at a time, until the model ends it."""
    from models.generation import GenerationConfig, generate_steps

    def generate(count: int) -> int:
        settings = GenerationConfig(max_new_tokens=count, temperature=1.0, top_k=0, top_p=1.0)
        return sum(1 for _ in generate_steps(model, tokenizer, _PROMPT, settings))

    generate(1)
    made: list[int] = []

    def work() -> None:
        while sum(made) < config.generated_tokens:
            made.append(generate(config.generated_tokens - sum(made)))

    spent = timed(work)
    tokens = sum(made)
    method, joules = energy(spent, config.watts_per_core)
    return {
        "generation_tokens_per_second": tokens / spent.seconds,
        "generation_cpu_seconds": spent.cpu_seconds,
        f"generation_wh_per_1k_tokens_{method}": joules / 3600 * 1000 / tokens,
    }


def _training(model: LanguageModel, facts: Mapping[str, Any], config: CostConfig) -> dict[str, float]:
    """Forward and backward in float32 through rows of the training's shape; the optimiser is left out.

    What the whole training took is extrapolated from it.
    """
    import torch

    from models.linear_cross_entropy import output_head
    from models.objectives import causal_loss

    device, length = model.model.embed_tokens.weight.device, facts["context_length"]
    rows = max(1, min(facts["batch_size"], _TIMED_TOKENS // length))
    ids = torch.zeros(rows, length + 1, dtype=torch.long, device=device)

    def step() -> None:
        causal_loss(model.model, output_head(model), ids).backward()  # type: ignore[no-untyped-call]
        _finished(next(model.parameters()).grad)
        model.zero_grad(set_to_none=True)

    step()

    def work() -> None:
        for _ in range(config.training_steps):
            step()

    spent = timed(work)
    tokens = rows * length * config.training_steps
    method, joules = energy(spent, config.watts_per_core)
    share = facts["tokens"] / tokens
    return {
        "training_tokens_per_second": tokens / spent.seconds,
        "training_tokens_per_cpu_second": tokens / max(spent.cpu_seconds, 1e-9),
        "training_cpu_seconds_extrapolated": spent.cpu_seconds * share,
        f"training_wh_extrapolated_{method}": joules * share / 3600,
    }


def _peak_memory() -> float | None:
    """The most memory the process has held so far, in bytes; None where the system does not tell."""
    try:
        import resource
    except ImportError:
        return None
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else peak * 1024)


def _finished(value: Any) -> Any:
    """Wait until a value is there: a GPU answers before it has worked."""
    return value if value is None else value.flatten()[:1].cpu()
