"""Training learns, stops on NaN, and gives bitwise the same weights however often it is killed."""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models import execution, pretraining
from models.checkpoint import IdentityError, checkpoint_path
from models.execution import maybe_compile, resolve_precision
from models.loader import WindowSampler
from models.pretraining import NonFiniteError
from models.scoring import evaluate_documents
from models.seen import documents_of
from models.shards import ShardError, TokenShard
from models.trainer import train
from models.validation_loss import masked_validation_loss
from tests.models import tiny_training
from tests.models.tiny_training import (
    CONTEXT,
    IDENTITY,
    TINY,
    VOCABULARY,
    run,
    tiny_config,
    weights_digest,
    write_shards,
    write_split,
)

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "losses_cpu.json"
"""Made by `python -m pytest tests/models/test_trainer.py -k golden` with UNVEIL_WRITE_GOLDEN=1 in the
environment."""


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    return write_shards(tmp_path / "shards")


def subprocess_run(shards: Path, folder: Path, **changes: Any) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        str(Path(tiny_training.__file__)),
        str(shards),
        str(folder),
        json.dumps(changes),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT)


def stop_at(process: subprocess.Popen[str], step: int, how: signal.Signals) -> dict[int, str]:
    """Read the child's losses and send it a signal once it has told about `step`."""
    losses: dict[int, str] = {}
    assert process.stdout is not None
    for line in process.stdout:
        first, value = line.split()
        if first == "done":
            break
        losses[int(first)] = value
        if int(first) == step:
            process.send_signal(how)
            if how == signal.SIGKILL:
                break
    process.wait(timeout=60)
    process.stdout.close()
    return losses


def test_the_first_loss_is_that_of_guessing(shards: Path, tmp_path: Path) -> None:
    for objective in ("causal", "masked", "hybrid"):
        _, seen = run(shards, tmp_path / objective, steps=1, batch_size=16, objective=objective)
        assert seen[0]["loss"] == pytest.approx(math.log(VOCABULARY), rel=0.01)


@pytest.mark.parametrize("objective", ["causal", "masked", "hybrid"])
def test_one_batch_is_learned_by_heart(tmp_path: Path, objective: str) -> None:
    shards = write_shards(tmp_path / "shards", documents=4)
    fixed = {"validate_every": 1000, "checkpoint_every": 1000, "schedule": "cosine", "weight_decay": 0.0}
    _, seen = run(shards, tmp_path / "run", steps=150, batch_size=6, objective=objective, **fixed)
    assert seen[0]["loss"] > 4.4
    # masks change from step to step, and a window's phase from epoch to epoch
    assert seen[-1]["loss"] < (0.6 if objective == "causal" else 3.0)


def test_golden_losses(tmp_path: Path) -> None:
    found = {}
    for objective in ("causal", "masked", "hybrid"):
        _, seen = run(write_shards(tmp_path / "shards"), tmp_path / objective, objective=objective)
        found[objective] = [step["loss"] for step in seen]
    if os.environ.get("UNVEIL_WRITE_GOLDEN"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(json.dumps(found, indent=1) + "\n")
    golden = json.loads(GOLDEN.read_text())
    assert found.keys() == golden.keys()
    for objective, losses in golden.items():
        assert len(losses) == 20
        assert found[objective] == pytest.approx(losses, abs=1e-5), objective


def test_every_step_is_reported_in_order_on_this_thread(shards: Path, tmp_path: Path) -> None:
    threads, seen = set(), []

    def on_metrics(step: int, metrics: dict[str, float]) -> None:
        threads.add(threading.current_thread())
        seen.append((step, metrics))

    result = train(
        TINY, tiny_config(objective="hybrid"), shards, tmp_path / "run",
        on_metrics=on_metrics, identity=IDENTITY, progress=False,
    )  # fmt: skip
    assert threads == {threading.current_thread()}
    assert [step for step, _ in seen] == list(range(1, 21))
    for step, metrics in seen:
        assert {"loss", "learning_rate", "gradient_norm", "tokens_per_second"} <= metrics.keys()
        assert metrics["tokens"] == step * 4 * CONTEXT
        assert metrics["loss"] == pytest.approx(
            (metrics["causal_loss"] + metrics["masked_loss"]) / 2, rel=1e-5
        )
        assert (
            ("validation/bits_per_byte" in metrics)
            == ("validation/masked_loss" in metrics)
            == (step % 10 == 0)
        )
    assert (result.steps, result.tokens, result.resumed_from) == (20, 20 * 4 * CONTEXT, 0)
    assert result.metrics["validation/loss"] == seen[-1][1]["validation/loss"]
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"checkpoints"}
    assert not (ROOT / "lightning_logs").exists()


def test_validation_is_that_of_the_final_model(shards: Path, tmp_path: Path) -> None:
    result, _ = run(shards, tmp_path / "run", validation_tokens=10_000)
    shard = TokenShard(shards, "validation")
    again = evaluate_documents(result.model, shard, context_length=CONTEXT)
    assert result.metrics["validation/loss"] == pytest.approx(again.nats_per_token, rel=1e-6)
    assert result.metrics["validation/bits_per_byte"] == pytest.approx(again.bits_per_byte, rel=1e-6)


def test_masked_runs_report_no_likelihood(shards: Path, tmp_path: Path) -> None:
    result, _ = run(shards, tmp_path / "run", objective="masked")
    assert {name for name in result.metrics if name.startswith("validation/")} == {"validation/masked_loss"}
    shard, config = TokenShard(shards, "validation"), tiny_config(objective="masked", seed=9)
    again = masked_validation_loss(result.model, shard, config, torch.float32)
    assert result.metrics["validation/masked_loss"] == pytest.approx(again, rel=1e-6)


@pytest.mark.parametrize("objective", ["causal", "hybrid"])
def test_micro_batches_do_not_change_what_is_learned(shards: Path, tmp_path: Path, objective: str) -> None:
    _, whole = run(shards, tmp_path / "whole", objective=objective)
    _, cut = run(shards, tmp_path / "cut", objective=objective, gradient_accumulation=4)
    for one, other in zip(whole, cut, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-4)
        assert one["causal_tokens"] == other["causal_tokens"]


def test_the_seed_decides(shards: Path, tmp_path: Path) -> None:
    digests = {
        weights_digest(run(shards, tmp_path / name, seed=seed, steps=3)[0])
        for name, seed in (("one", 0), ("same", 0), ("other", 1))
    }
    assert len(digests) == 2


def test_killed_and_started_again_it_learns_the_same(shards: Path, tmp_path: Path) -> None:
    objective = "hybrid"
    expected, seen = run(shards, tmp_path / "undisturbed", objective=objective)
    undisturbed = {int(step["step"]): step["loss"].hex() for step in seen}
    first = np.random.default_rng(os.getpid()).integers(1, 20)  # another place every time
    losses: dict[int, str] = {}
    for step in (int(first), min(19, int(first) + 4)):
        process = subprocess_run(shards, tmp_path / "killed", objective=objective)
        losses |= stop_at(process, step, signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
    result, rest = run(shards, tmp_path / "killed", objective=objective)
    losses |= {int(step["step"]): step["loss"].hex() for step in rest}
    assert losses == undisturbed
    assert weights_digest(result) == weights_digest(expected)


def test_asked_to_terminate_it_saves_and_goes_on_later(shards: Path, tmp_path: Path) -> None:
    options = {"steps": 400, "checkpoint_every": 1000, "validate_every": 1000}
    expected, _ = run(shards, tmp_path / "undisturbed", **options)
    process = subprocess_run(shards, tmp_path / "run", **options)
    stop_at(process, 12, signal.SIGTERM)
    assert process.returncode == 143
    (saved,) = (tmp_path / "run" / "checkpoints").glob("step-*")
    result, rest = run(shards, tmp_path / "run", **options)
    assert 12 <= result.resumed_from < 400
    assert saved == checkpoint_path(saved.parent, result.resumed_from)
    assert rest[0]["step"] == result.resumed_from + 1
    assert weights_digest(result) == weights_digest(expected)


def test_a_damaged_checkpoint_costs_steps_not_the_result(
    shards: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected, _ = run(shards, tmp_path / "run")
    newest = checkpoint_path(tmp_path / "run" / "checkpoints", 20)
    (newest / "model.safetensors").write_bytes(b"")
    result, _ = run(shards, tmp_path / "run")
    assert result.resumed_from == 15
    assert "step-000000020" in caplog.text
    assert weights_digest(result) == weights_digest(expected)


def test_a_finished_run_is_not_trained_further(shards: Path, tmp_path: Path) -> None:
    expected, _ = run(shards, tmp_path / "run")
    result, seen = run(shards, tmp_path / "run")
    assert (seen, result.resumed_from) == ([], 20)
    assert result.metrics == expected.metrics
    assert weights_digest(result) == weights_digest(expected)


def test_another_run_is_not_resumed(shards: Path, tmp_path: Path) -> None:
    run(shards, tmp_path / "run", steps=2)
    with pytest.raises(IdentityError, match=r"training\.weight_decay was 0\.05, is 0\.1"):
        run(shards, tmp_path / "run", steps=2, weight_decay=0.1)
    run(shards, tmp_path / "run", steps=2, checkpoint_every=7)  # how often to save is not what was learned


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_before_the_update(
    shards: Path, tmp_path: Path, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = pretraining.step_loss

    def broken(*arguments: Any) -> Any:
        result = real(*arguments)
        return result._replace(loss=result.loss * value) if arguments[2].step == 12 else result

    monkeypatch.setattr(pretraining, "step_loss", broken)
    with pytest.raises(
        NonFiniteError, match=r"step 13: loss (nan|inf).*bad_batches\.json names the documents"
    ):
        run(shards, tmp_path / "run")
    report = json.loads((tmp_path / "run" / "checkpoints" / "bad_batches.json").read_text())
    shard = TokenShard(shards, "train")
    windows = WindowSampler(shard, context_length=CONTEXT, batch_size=4, seed=0).windows_of(12)
    assert report == {
        "step": 13,
        "ranks": [0],
        "context_length": CONTEXT,
        "first_tokens": windows.tolist(),
        "documents": documents_of(shard, windows, CONTEXT),
    }
    monkeypatch.undo()
    expected, _ = run(shards, tmp_path / "undisturbed")
    result, _ = run(shards, tmp_path / "run")
    assert result.resumed_from == 10
    assert weights_digest(result) == weights_digest(expected)


def test_a_gradient_that_is_not_finite_stops_too(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *_: torch.tensor(math.inf))
    with pytest.raises(NonFiniteError, match=r"step 1: .*gradient norm inf"):
        run(shards, tmp_path / "run")


def test_configurations_that_do_not_fit_are_refused(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"context_length \(64\) exceeds"):
        run(shards, tmp_path / "run", context_length=64)
    write_split(tmp_path / "wide", "train", [list(range(4, 60))], vocab_size=VOCABULARY + 1)
    with pytest.raises(ValueError, match=r"vocabulary \(97\) exceeds the model's \(96\)"):
        run(tmp_path / "wide", tmp_path / "run")
    (shards / "validation.bin").unlink()
    with pytest.raises(ShardError, match=r"validation\.bin"):
        run(shards, tmp_path / "run")


def test_settings_of_the_process_are_restored(shards: Path, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    run(shards, tmp_path / "run", steps=1, threads=before + 1)
    assert torch.get_num_threads() == before
    assert not torch.are_deterministic_algorithms_enabled()


def test_progress_is_a_line_every_tenth_off_a_terminal(
    shards: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="models.monitor"):
        run(shards, tmp_path / "run")
    lines = [record.message for record in caplog.records if record.name == "models.monitor"]
    assert len(lines) == 10
    assert lines[-1].startswith("step 20 of 20: loss ")


def test_without_a_compiler_auto_warns_once_and_on_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_compiler(*_: Any, **__: Any) -> Any:
        raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found\nmore lines")

    monkeypatch.setattr(torch, "compile", no_compiler)
    trunk = torch.nn.Identity()
    assert maybe_compile(trunk, "auto", execution.WORTH_COMPILING) is trunk
    (record,) = caplog.records
    assert "No working C++ compiler found" in record.message and "more lines" not in record.message
    with pytest.raises(RuntimeError, match=r"compile: on"):
        maybe_compile(trunk, "on", 0.0)
    assert maybe_compile(trunk, "off", math.inf) is trunk


def test_auto_does_not_compile_a_short_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda *_, **__: pytest.fail("compiled"))
    trunk = torch.nn.Identity()
    assert maybe_compile(trunk, "auto", execution.WORTH_COMPILING / 2) is trunk


def test_precision_follows_the_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    for has_it, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(execution, "cpu_multiplies_bf16", lambda has_it=has_it: has_it)
        assert resolve_precision("auto", cpu) == expected
    assert resolve_precision("fp32", cpu) == torch.float32
    assert resolve_precision("bf16", cpu) == torch.bfloat16


def test_bf16_learns_like_fp32(shards: Path, tmp_path: Path) -> None:
    _, exact = run(shards, tmp_path / "exact")
    _, rough = run(shards, tmp_path / "rough", precision="bf16")
    assert rough[-1]["loss"] == pytest.approx(exact[-1]["loss"], abs=0.1)


@pytest.mark.slow
def test_two_ranks_learn_what_one_does(shards: Path, tmp_path: Path) -> None:
    """Equal to rounding, not bitwise: the order of sums differs."""
    options = {"objective": "hybrid", "batch_size": 8, "gradient_accumulation": 2}
    _, seen = run(shards, tmp_path / "one", **options)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", tiny_training.__file__]
    finished = subprocess.run(
        [sys.executable, *launch, str(shards), str(tmp_path / "two"), json.dumps(options)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=180, check=True,
    )  # fmt: skip
    lines = [line.split() for line in finished.stdout.splitlines()]
    losses = [float.fromhex(value) for first, value in lines if first != "done"]
    assert losses == pytest.approx([step["loss"] for step in seen], abs=1e-5)
    assert len({value for first, value in lines if first == "done"}) == 1


@pytest.mark.slow
def test_compiled_it_learns_the_same(shards: Path, tmp_path: Path) -> None:
    plain, seen = run(shards, tmp_path / "plain", objective="hybrid")
    compiled, fast = run(shards, tmp_path / "compiled", objective="hybrid", compile="on")
    assert [step["loss"] for step in fast] == pytest.approx([step["loss"] for step in seen], abs=1e-4)
    assert plain.model.state_dict().keys() == compiled.model.state_dict().keys()
