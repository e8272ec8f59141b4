"""How a run is carried out on the machine at hand: precision, compilation, threads, determinism."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from models.config import ModelConfig
from models.training_config import TrainingConfig

logger = logging.getLogger(__name__)

WORTH_COMPILING = 1e14
"""Floating-point operations of a run from which `compile: auto` compiles: about ten minutes on two cores.

Compiling a six-layer trunk costs some 50 CPU seconds the first time and saves about a seventh of every step.
"""


def resolve_precision(choice: str, device: torch.device) -> torch.dtype:
    """Turn `auto | fp32 | bf16` into a type; auto means bf16 where the hardware multiplies it fast."""
    if choice == "auto":
        fast = torch.cuda.is_bf16_supported() if device.type == "cuda" else cpu_multiplies_bf16()
        return torch.bfloat16 if fast else torch.float32
    return {"fp32": torch.float32, "bf16": torch.bfloat16}[choice]


def cpu_multiplies_bf16() -> bool:
    """Whether this CPU has bf16 dot products (AVX512-BF16 or AMX)."""
    ask = getattr(torch.cpu, "get_capabilities", None)  # torch 2.12 and up
    capabilities: dict[str, object] = ask() if ask else {}
    return bool(capabilities.get("avx512_bf16")) or bool(capabilities.get("amx_bf16"))


def training_flops(model: ModelConfig, training: TrainingConfig) -> float:
    """Arithmetic of a whole run: 6 per parameter and token (Kaplan et al. 2020), and attention."""
    width = model.num_attention_heads * model.head_dim
    attention = 12 * model.num_hidden_layers * width * training.context_length
    tokens = training.steps * training.batch_size * training.context_length
    return float(tokens) * (6 * model.parameter_count() + attention)


def maybe_compile(trunk: nn.Module, choice: str, flops: float) -> Callable[..., Tensor]:
    """Return `trunk`, or its compiled twin that shares its parameters, by `auto | on | off`.

    `auto` falls back to the trunk itself with one warning where there is no working compiler.

    Raises:
        RuntimeError: `on`, and compiling does not work here.

    """
    if choice == "off" or (choice == "auto" and flops < WORTH_COMPILING):
        return trunk
    problem = compiler_problem()
    if problem is None:
        compiled: Callable[..., Tensor] = torch.compile(trunk, dynamic=False)
        return compiled
    if choice == "on":
        raise RuntimeError(
            f"compile: on, but torch.compile does not work here ({problem}); set it to off or auto"
        )
    logger.warning("training without torch.compile, which does not work here (%s)", problem)
    return trunk


def compiler_problem() -> str | None:
    """Compile a two-operation function and report what went wrong, if anything."""
    try:
        result = torch.compile(lambda x: (x * 2 + 1).sum())(torch.ones(8))
    except Exception as error:  # whatever the compiler stack raises means the same: do without it
        return f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"
    return None if float(result) == 24.0 else "it computed a wrong sum"


@contextmanager
def reproducible(threads: int) -> Iterator[None]:
    """Deterministic algorithms and a fixed number of threads (0: torch's default), restored afterwards.

    Training draws nothing from global random generators: weights, windows and masks have their own seeds.
    What is left to fix is the order of sums, which depends on the algorithm and the number of threads.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS needs to be deterministic
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    memory: Any = torch.utils.deterministic
    fill = memory.fill_uninitialized_memory
    try:
        if threads:
            torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(True)
        # a debugging aid that writes NaN to every new tensor, at a cost of several per cent
        memory.fill_uninitialized_memory = False
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
        memory.fill_uninitialized_memory = fill
