"""`make bench`: each measurement beside its baseline, interleaved in one run, as medians with their spread.

The machines this runs on are shared, so ratios of interleaved trials are told rather than single times.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from flows import presets
from models.config import ModelConfig
from models.linear_cross_entropy import output_head
from models.loader import Batch
from models.objectives import step_loss
from models.optimiser import make_optimiser
from models.training_config import TrainingConfig
from models.transformer import LanguageModel
from tasks import failpoints
from tasks.artifacts import sha256_of

TRIALS = 15


def main() -> None:
    """Run every measurement and print a Markdown table row for each."""
    print("| measured | median | 10th to 90th percentile | baseline | ratio | n |")
    print("|---|---|---|---|---|---|")
    _row(
        "demo training step, bf16 autocast",
        "fp32",
        training_step(torch.bfloat16),
        training_step(torch.float32),
    )
    _row(
        "demo training step, Muon + AdamW",
        "AdamW alone",
        training_step(optimiser="muon"),
        training_step(optimiser="adamw"),
    )
    _row("a million failpoints, off", "a million calls of nothing", *_failpoints())
    _row("verifying 64 MiB of an artefact", "reading it", *_verification())


def _row(name: str, baseline_name: str, measured: Callable[[], None], baseline: Callable[[], None]) -> None:
    for function in (measured, baseline):
        function()
    pairs = [(seconds(measured), seconds(baseline)) for _ in range(TRIALS)]
    times = [pair[0] for pair in pairs]
    deciles = statistics.quantiles(times, n=10)
    ratio = statistics.median(ours / theirs for ours, theirs in pairs)
    print(
        f"| {name} | {1000 * statistics.median(times):.0f} ms | {1000 * deciles[0]:.0f} to {1000 * deciles[-1]:.0f} ms "
        f"| {baseline_name} | {ratio:.2f} | {TRIALS} |",
        flush=True,
    )


def seconds(function: Callable[[], None]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def training_step(precision: torch.dtype = torch.bfloat16, optimiser: str = "muon") -> Callable[[], None]:
    """One optimiser step of the demo's model on random tokens."""
    demo = presets.demo()
    config = TrainingConfig.model_validate(demo.pretraining.training.model_dump() | {"optimiser": optimiser})
    shape: ModelConfig = demo.pretraining.architecture.build(
        demo.tokenization.vocab_size, config.context_length
    )
    model = LanguageModel(shape)
    stepper = make_optimiser(model, config, orthogonal_dtype=precision)
    tokens = torch.randint(4, shape.vocab_size, (config.batch_size, config.context_length + 1))

    def step() -> None:
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            result = step_loss(
                model.model, output_head(model), Batch(tokens, 0, 0), config, shape.mask_token_id or 0
            )
        result.loss.backward()  # type: ignore[no-untyped-call]
        stepper.step()
        stepper.zero_grad()

    return step


def _failpoints() -> tuple[Callable[[], None], Callable[[], None]]:
    def nothing(_point: str) -> None:
        return

    def repeated(call: Callable[[str], None]) -> Callable[[], None]:
        def run() -> None:
            for _ in range(1_000_000):
                call("open")

        return run

    return repeated(failpoints.hit), repeated(nothing)


def _verification() -> tuple[Callable[[], None], Callable[[], None]]:
    folder = tempfile.TemporaryDirectory()
    path = Path(folder.name) / "file"
    path.write_bytes(bytes(64 << 20))

    def hashing(_keep: object = folder) -> None:
        sha256_of(path)

    def reading(_keep: object = folder) -> None:
        path.read_bytes()

    return hashing, reading


if __name__ == "__main__":
    main()
