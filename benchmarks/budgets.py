"""How well memory and time are foretold: `python -m benchmarks.budgets [--few-rows]`.

Every shape is forecast first, then trained for real in a process of its own, from the first step to the last;
and again, forecasts and trainings by turns, until there are five of them or four minutes of training. Told are the
medians, and between which ratios the single ones lie. With `--few-rows` the calibration is held so short that it
tries a part of a micro-batch only: what is told of memory then comes from the walk through the step and a line
through two small trials.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from models.budget import BudgetConfig
from models.calibration import _peak_memory, _random_shards
from models.config import ModelConfig
from models.forecast import forecast_pretraining
from models.training_config import TrainingConfig
from models.trials import SECONDS

_ROOM = 16 << 30
_FEW_SECONDS = 2.0
_STEPS = 24
_REPEATS, _ENOUGH_SECONDS = 5, 240.0


class Case(NamedTuple):
    """One shape, and how it is trained."""

    hidden: int
    layers: int
    vocabulary: int
    context: int
    batch: int
    micro_batches: int = 1
    objective: str = "causal"
    precision: str = "fp32"

    def model(self) -> ModelConfig:
        """Heads of 64, of which half are shared, and a feed-forward of 8/3 the width, as the presets have it."""
        heads = max(2, self.hidden // 64)
        return ModelConfig(
            vocab_size=self.vocabulary,
            hidden_size=self.hidden,
            intermediate_size=8 * self.hidden // 3 // 32 * 32,
            num_hidden_layers=self.layers,
            num_attention_heads=heads,
            num_key_value_heads=heads // 2,
            head_dim=64,
            max_position_embeddings=self.context,
        )

    def training(self) -> TrainingConfig:
        """A short run with a validation and a checkpoint in the middle and at the end."""
        values: dict[str, Any] = {
            "steps": _STEPS,
            "batch_size": self.batch,
            "context_length": self.context,
            "gradient_accumulation": self.micro_batches,
            "objective": self.objective,
            "precision": self.precision,
            "compile": "off",
            "checkpoint_every": _STEPS // 2,
            "validate_every": _STEPS // 2,
            "validation_tokens": 8_192,
        }
        return TrainingConfig(**values)


CASES = (
    Case(128, 4, 2_048, 256, 8),
    Case(128, 4, 2_048, 256, 8, objective="masked", precision="bf16"),
    Case(256, 6, 4_096, 256, 16),
    Case(256, 6, 4_096, 128, 8, micro_batches=4, precision="bf16"),
    Case(256, 2, 32_768, 128, 32, objective="masked"),
    Case(384, 8, 8_192, 512, 8, micro_batches=2),
    Case(512, 4, 16_384, 1_024, 4, objective="hybrid"),
)


def main() -> None:
    """Print a Markdown row for every shape, and how far the forecasts were off over all."""
    seconds = _FEW_SECONDS if "--few-rows" in sys.argv else SECONDS
    print(
        "| width, layers, words, context, batch/micro | objective | type | n | memory MB | foretold / measured "
        "| time s | foretold / measured | tried |\n|---|---|---|---|---|---|---|---|---|"
    )
    memory, clock = [], []
    for case in CASES:
        rounds = list(_rounds(case, seconds))
        memory.append(statistics.median(each.memory for each in rounds))
        clock.append(statistics.median(each.clock for each in rounds))
        size = f"{case.hidden}, {case.layers}, {case.vocabulary}, {case.context}, {case.batch}/{case.micro_batches}"
        print(
            f"| {size} | {case.objective} | {case.precision} | {len(rounds)} "
            f"| {statistics.median(each.peak for each in rounds) / 2**20:.0f} "
            f"| {_spread([each.memory for each in rounds])} "
            f"| {statistics.median(each.seconds for each in rounds):.1f} "
            f"| {_spread([each.clock for each in rounds])} | {rounds[-1].tried} |",
            flush=True,
        )
    for name, ratios in (("memory", memory), ("time", clock)):
        off = [abs(ratio - 1.0) for ratio in ratios]
        middle = statistics.median(ratios)
        print(
            f"{name}: median ratio {middle:.3f}, from {min(ratios):.3f} to {max(ratios):.3f}, "
            f"furthest off {100 * max(off):.1f} %, n = {len(ratios)} shapes"
        )


class _Round(NamedTuple):
    """A forecast and the training after it: foretold by measured, and what was measured."""

    memory: float
    clock: float
    peak: float
    seconds: float
    tried: str


def _rounds(case: Case, seconds: float) -> Iterator[_Round]:
    trained = 0.0
    for _ in range(_REPEATS):
        with tempfile.TemporaryDirectory() as folder:
            told = forecast_pretraining(
                case.model(),
                case.training(),
                budget=BudgetConfig(),
                folder=Path(folder),
                room=_ROOM,
                seconds=seconds,
            )
        measured = _measured(case)
        yield _Round(
            told.memory / measured["peak"],
            (told.seconds or 0.0) / measured["seconds"],
            measured["peak"],
            measured["seconds"],
            told.tried,
        )
        trained += measured["seconds"]
        if trained >= _ENOUGH_SECONDS:
            return


def _spread(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.3f} [{min(ratios):.3f}, {max(ratios):.3f}]"


def _measured(case: Case) -> dict[str, float]:
    """Train for real in a child process; its peak of memory, and the time from the first step to the end."""
    command = [sys.executable, "-m", "benchmarks.budgets", "child", json.dumps(case._asdict())]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _child(case: Case) -> None:
    from models.trainer import train

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tokens = case.batch * case.context * _STEPS
        shards = _random_shards(folder / "shards", case.vocabulary, tokens, 2 * 8_192)
        began: list[float] = []
        train(
            case.model(),
            case.training(),
            shards,
            folder / "run",
            on_metrics=lambda _step, _metrics: began.append(time.perf_counter()),
            identity={},
            progress=False,
        )
        # the first step is left out: it loads what later ones find loaded
        seconds = (time.perf_counter() - began[0]) * _STEPS / (_STEPS - 1)
    print(json.dumps({"peak": _peak_memory(), "seconds": seconds}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        _child(Case(**json.loads(sys.argv[2])))
    else:
        main()
