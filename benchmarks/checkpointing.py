"""What keeping a training safe costs: `python -m benchmarks.checkpointing`.

(a) Checkpoints at the default interval, as a share of the time of the steps between them. Steps and saves are timed
    in one run, so that both meet the same machine.
(b) Guards, callbacks and Lightning over a bare loop that does the same arithmetic on the same batches. The two take
    turns in short blocks of steps; what is told is the median over blocks of the ratio of their median steps.
"""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.config import ModelConfig
from models.execution import reproducible, resolve_precision
from models.linear_cross_entropy import output_head
from models.loader import Batch, WindowSampler
from models.objectives import step_loss
from models.optimiser import make_optimiser
from models.shards import TokenShard
from models.trainer import train
from models.training_config import TrainingConfig, learning_rate_factor
from models.transformer import LanguageModel

BLOCKS, BLOCK = 24, 20
SAVES = 12
VOCABULARY = 4096
SHAPE = ModelConfig(
    vocab_size=VOCABULARY,
    hidden_size=128,
    intermediate_size=320,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=32,
    max_position_embeddings=128,
)


def main() -> None:
    """Print a Markdown table row for each measurement."""
    print(
        f"model: {SHAPE.parameter_count():,} parameters; default interval: {TrainingConfig().checkpoint_every} steps"
    )
    print("| measured | median | 10th to 90th percentile | n |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        shards = _shards(Path(name) / "shards")
        for background in (False, True):
            _report_saving(shards, Path(name) / f"saving-{background}", background)
        _report_guards(shards, Path(name) / "guarded")


def config(**changes: Any) -> TrainingConfig:
    """A run of the model above without validation."""
    values: dict[str, Any] = {
        "steps": 1_000_000, "batch_size": 8, "context_length": 128, "compile": "off", "validate_every": 10**9,
    }  # fmt: skip
    return TrainingConfig(**(values | changes))


class _EndError(Exception):
    """Ends a training that has told enough."""


def _report_saving(shards: Path, folder: Path, background: bool) -> None:
    """Save every 10 steps; what the step that holds a save takes longer than the others is its cost."""
    every = TrainingConfig().checkpoint_every
    between, marks = 10, []

    def on_metrics(step: int, _metrics: dict[str, float]) -> None:
        marks.append(time.perf_counter())
        if step > between * SAVES:
            raise _EndError

    with contextlib.suppress(_EndError):
        _train(shards, folder, on_metrics, checkpoint_every=between, checkpoint_async=background)
    steps = np.diff(marks)
    # the step after a save holds the save; those in between, while a thread may write, are steps
    plain = np.delete(steps, np.arange(between - 1, len(steps), between))
    typical = float(np.median(plain))
    extra = [float(time_between - typical) for time_between in steps[between - 1 :: between]]
    slowed = max(0.0, float(plain.sum() - typical * len(plain))) / SAVES if background else 0.0
    shares = [100.0 * (each + slowed) / (every * typical) for each in extra]
    _row(f"checkpoint, {'in the background' if background else 'as it is by default'}", extra, "ms", 1000.0)
    _row("its share of training time at the default interval", shares, "%", 1.0)


def _report_guards(shards: Path, folder: Path) -> None:
    """Let Lightning and the bare loop step in turns, one block each; the first of each warms up."""
    guarded: list[list[float]] = []
    bare: list[list[float]] = []
    step = _bare_loop(shards)
    last = [0.0]

    def on_metrics(number: int, _metrics: dict[str, float]) -> None:
        now = time.perf_counter()
        if (number - 1) % BLOCK:
            guarded[-1].append(now - last[0])
        else:  # the step before began in the last block
            guarded.append([])
        if number % BLOCK == 0:
            bare.append([_seconds(partial(step, number - BLOCK + each)) for each in range(BLOCK)][1:])
        if len(bare) == BLOCKS:
            raise _EndError
        last[0] = time.perf_counter()

    with contextlib.suppress(_EndError):
        _train(shards, folder, on_metrics, checkpoint_every=10**9)
    pairs = zip(guarded, bare, strict=True)
    ratios = [statistics.median(ours) / statistics.median(theirs) for ours, theirs in list(pairs)[1:]]
    _row("bare loop, a step", [each for block in bare[1:] for each in block], "ms", 1000.0)
    _row(
        "Lightning, guards and callbacks, a step",
        [each for block in guarded[1:] for each in block],
        "ms",
        1000.0,
    )
    _row("ratio of a block's medians", ratios, "", 1.0)


def _bare_loop(shards: Path) -> Callable[[int], None]:
    """The same arithmetic with nothing around it, not even a check that the loss is finite."""
    settings = config()
    precision = resolve_precision(settings.precision, torch.device("cpu"))
    model = LanguageModel(SHAPE, seed=settings.seed)
    optimiser = make_optimiser(model, settings, orthogonal_dtype=precision)
    sampler = WindowSampler(
        TokenShard(shards, "train"),
        context_length=settings.context_length, batch_size=settings.batch_size, seed=settings.seed,
    )  # fmt: skip

    def step(number: int) -> None:
        batch = Batch(torch.from_numpy(sampler.batch(number)), number, 0)
        optimiser.set_learning_rates(learning_rate_factor(settings, number))
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            result = step_loss(model.model, output_head(model), batch, settings, 0)
        result.loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.gradient_clip)
        optimiser.step()

    return step


def _train(shards: Path, folder: Path, on_metrics: Callable[..., None], **changes: Any) -> None:
    with reproducible(0):
        train(SHAPE, config(**changes), shards, folder, on_metrics=on_metrics, identity={}, progress=False)


def _shards(folder: Path) -> Path:
    """Random tokens: what they say does not change how long a step takes."""
    from tests.models.tiny_training import write_split

    generator = np.random.default_rng(0)
    for split, documents in (("train", 400), ("validation", 4)):
        texts = [generator.integers(4, VOCABULARY, size=1000).tolist() for _ in range(documents)]
        write_split(folder, split, texts, vocab_size=VOCABULARY)
    return folder


def _seconds(function: Callable[[], None]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def _row(name: str, values: list[float], unit: str, factor: float) -> None:
    deciles = statistics.quantiles(values, n=10)
    shown = [
        f"{factor * value:.3f} {unit}".strip()
        for value in (statistics.median(values), deciles[0], deciles[-1])
    ]
    print(f"| {name} | {shown[0]} | {shown[1]} to {shown[2]} | {len(values)} |", flush=True)


if __name__ == "__main__":
    main()
