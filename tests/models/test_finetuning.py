"""Fine-tuning learns, repeats bit by bit, goes on after any end, and stops at what is not finite."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.checkpoint import IdentityError
from models.examples import Example, ExampleSampler
from models.finetuning import FineTuned, finetune
from models.finetuning_config import FineTuningConfig
from models.heads import Classifier, SpanExtractor, Translator
from models.pretraining import NonFiniteError
from models.transformer import LanguageModel
from tests.models.tiny_training import TINY

LABELS = ("low", "high")
Seen = list[tuple[int, dict[str, float]]]


class Interrupted(Exception):
    """What a test throws into a training."""


def examples(count: int = 48) -> list[Example]:
    """Texts whose label is told by one of two tokens, somewhere in them."""
    generator = np.random.default_rng(4)
    found = []
    for place in range(count):
        ids = [0, *generator.integers(10, 90, size=int(generator.integers(2, 12))).tolist()]
        ids[int(generator.integers(1, len(ids)))] = 5 + place % 2
        found.append(Example(tuple(ids), (place % 2,), f"row-{place}"))
    return found


def config(**changes: Any) -> FineTuningConfig:
    values: dict[str, Any] = {
        "steps": 12,
        "batch_size": 8,
        "adam_learning_rate": 0.01,
        "precision": "fp32",
        "checkpoint_every": 4,
        "validate_every": 6,
        "threads": 1,
    }
    return FineTuningConfig(**(values | changes))


def classifier() -> Classifier:
    return Classifier(LanguageModel(TINY, seed=1), LABELS, seed=2)


def run(
    folder: Path, head: Any = None, given: list[Example] | None = None, stop_at: int = 0, **changes: Any
) -> tuple[FineTuned[Any], Seen]:
    """Fine-tune; with `stop_at`, raise once that step is told."""
    seen: Seen = []

    def on_metrics(step: int, metrics: dict[str, float]) -> None:
        seen.append((step, metrics))
        if step == stop_at:
            raise Interrupted

    result = finetune(
        classifier() if head is None else head,
        examples() if given is None else given,
        config(**changes),
        folder,
        pad_id=1,
        on_metrics=on_metrics,
        identity={"base": "b"},
        validate=lambda trained: {
            "norm": float(trained.score.weight.norm()),
            "training": float(trained.training),
        },
        progress=False,
    )
    return result, seen


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_it_learns(tmp_path: Path) -> None:
    result, seen = run(tmp_path, steps=60, checkpoint_every=100)
    assert seen[0][1]["loss"] == pytest.approx(math.log(2), abs=0.05)
    assert np.mean([metrics["loss"] for _, metrics in seen[-6:]]) < 0.1
    assert not result.head.training


def test_every_step_is_told_and_validation_sees_evaluation_mode(tmp_path: Path) -> None:
    result, seen = run(tmp_path)
    assert [step for step, _ in seen] == list(range(1, 13))
    assert [step for step, metrics in seen if "norm" in metrics] == [6, 12]
    assert all(metrics["examples"] == 8 * step for step, metrics in seen)
    assert seen[5][1]["training"] == 0.0
    assert result.metrics["norm"] == result.head.score.weight.detach().norm().item()


def test_equal_runs_are_equal_bit_by_bit(tmp_path: Path) -> None:
    one, first = run(tmp_path / "one")
    torch.manual_seed(99)
    two, second = run(tmp_path / "two", validate_every=5, checkpoint_every=7)
    assert same(one.head, two.head)
    assert [metrics["loss"] for _, metrics in first] == [metrics["loss"] for _, metrics in second]
    assert not same(one.head, run(tmp_path / "three", seed=1)[0].head)


@pytest.mark.parametrize("step", [2, 9])
@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
def test_interrupted_it_goes_on_as_if_nothing_had_been(tmp_path: Path, step: int, optimiser: str) -> None:
    whole, told = run(tmp_path / "whole", optimiser=optimiser)
    with pytest.raises(Interrupted):
        run(tmp_path / "cut", stop_at=step, optimiser=optimiser)
    result, rest = run(tmp_path / "cut", optimiser=optimiser)
    assert result.resumed_from == step // 4 * 4
    assert [entry[0] for entry in rest] == list(range(result.resumed_from + 1, 13))
    losses = {at: metrics["loss"] for at, metrics in told}
    assert all(metrics["loss"] == losses[at] for at, metrics in rest)
    assert same(result.head, whole.head)


def test_a_finished_run_is_not_taught_further(tmp_path: Path) -> None:
    whole, _ = run(tmp_path)
    again, seen = run(tmp_path)
    assert seen == []
    assert same(again.head, whole.head)
    assert again.metrics == whole.metrics


def test_another_run_is_not_resumed_but_how_it_is_carried_out_may_change(tmp_path: Path) -> None:
    whole, _ = run(tmp_path)
    with pytest.raises(IdentityError, match=r"finetuning\.adam_learning_rate"):
        run(tmp_path, adam_learning_rate=0.5)
    again, _ = run(tmp_path, checkpoint_every=5, validate_every=2)
    assert same(again.head, whole.head)


def test_of_a_large_batch_the_first_rows_are_named(tmp_path: Path) -> None:
    head = classifier()
    head.loss = lambda batch: head.score.weight.sum() * math.nan  # type: ignore[method-assign]
    with pytest.raises(NonFiniteError, match=r": the labelled rows (row-\d+, ){31}row-\d+ and 8 more$"):
        run(tmp_path, head, batch_size=40)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_before_the_update(tmp_path: Path, value: float) -> None:
    whole, _ = run(tmp_path / "whole")
    head, calls = classifier(), []
    plain = head.loss

    def broken(batch: Any) -> torch.Tensor:
        calls.append(batch.step)
        return plain(batch) * (value if batch.step == 6 else 1.0)

    head.loss = broken  # type: ignore[method-assign]
    with pytest.raises(NonFiniteError, match=r"step 7: loss (nan|inf).*Lower the learning rate") as error:
        run(tmp_path / "broken", head)
    sampler = ExampleSampler(examples(), batch_size=8, pad_id=1, seed=config().seed)
    assert str(error.value).endswith(f": the labelled rows {', '.join(sampler.rows(6))}")
    assert calls == list(range(7))
    assert all(bool(weight.isfinite().all()) for weight in head.parameters())
    result, _ = run(tmp_path / "broken")
    assert result.resumed_from == 4
    assert same(result.head, whole.head)


def test_bf16_learns_like_fp32(tmp_path: Path) -> None:
    _, exact = run(tmp_path / "exact")
    _, rough = run(tmp_path / "rough", precision="bf16")
    assert rough[-1][1]["loss"] != exact[-1][1]["loss"]
    assert rough[-1][1]["loss"] == pytest.approx(exact[-1][1]["loss"], abs=0.1)


def test_spans_and_translations_are_learned_with_the_same_loop(tmp_path: Path) -> None:
    model = LanguageModel(TINY, seed=1)
    spans = [Example(each.input_ids, (each.input_ids.index(5 + each.targets[0]),) * 2) for each in examples()]
    _, seen = run(tmp_path / "spans", SpanExtractor(model), spans, steps=60, checkpoint_every=100)
    assert seen[-1][1]["loss"] < 0.3 < seen[0][1]["loss"]
    translator: Any = Translator(LanguageModel(TINY, seed=1))
    translator.score = torch.nn.Linear(1, 1)  # only `validate` of these tests looks at it
    pairs = [Example((*each.input_ids, 3, 7, 8), (len(each.input_ids) + 1,)) for each in examples()]
    _, seen = run(tmp_path / "pairs", translator, pairs, steps=40, checkpoint_every=100)
    assert seen[-1][1]["loss"] < 0.3 < seen[0][1]["loss"]


def test_nothing_to_learn_from_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no example"):
        run(tmp_path, given=[])
