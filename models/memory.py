"""How much memory a training step needs, found by going through it without doing it.

The real network, loss and optimiser are run on tensors that have a shape and no content (`FakeTensorMode`).
Every storage that an operator makes is counted when it comes and when it goes, so the peak is that of the
operators' own tensors, whatever the architecture: no formula to keep in step with the code. The operators are
the CPU's, which make the same tensors as a GPU's or larger ones. What the allocator
holds beyond that, and what the process needs besides, has to be measured (`models.calibration`).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from models.config import ModelConfig
from models.finetuning_config import FineTuningConfig
from models.heads import QUESTION_ANSWERING, SENTIMENT, Classifier, ExampleBatch, SpanExtractor, Translator
from models.linear_cross_entropy import output_head, token_losses
from models.loader import Batch
from models.objectives import step_loss
from models.optimiser import MuonAdamW, make_optimiser
from models.scoring import TOKENS_PER_BATCH, autocast
from models.training_config import OptimisationConfig, TrainingConfig
from models.transformer import LanguageModel

Loss = Callable[[Any, int], Tensor]
"""Takes the network and a number of rows."""

_FEW_ROWS, _LABELS = 2, 2
_WALKED = 16_384  # tokens of the largest micro-batch that is walked through


class Need(NamedTuple):
    """Bytes of tensors that a training needs at its peak, by what they are for."""

    weights: int
    gradients: int
    optimiser: int
    activations: int
    """Of a micro-batch with its logits, or what lives for a moment in another phase, if that is more."""

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.gradients + self.optimiser + self.activations


def pretraining_need(
    model: ModelConfig, training: TrainingConfig, *, rows: int, precision: torch.dtype
) -> Need:
    """A step of pretraining whose micro-batches have `rows` sequences.

    Large ones are not walked through whole, which would take minutes: from some size on the need grows by as much
    with every row, since it is the same operator that needs most.
    """
    few = max(1, _WALKED // 2 // training.context_length)
    if rows > 2 * few:
        one, two = (
            pretraining_need(model, training, rows=count, precision=precision) for count in (few, 2 * few)
        )
        more = (two.activations - one.activations) * (rows - 2 * few) // few
        return two._replace(activations=two.activations + more)

    def loss(network: LanguageModel, count: int) -> Tensor:
        batch = Batch(torch.zeros(count, training.context_length + 1, dtype=torch.long), 0, 0)
        mask_id = model.mask_token_id or 0
        return step_loss(network.model, output_head(network), batch, training, mask_id).loss

    def validate(network: LanguageModel) -> None:
        within = max(1, training.validation_tokens // training.context_length)
        if training.objective != "causal":
            loss(network, min(training.batch_size, within, _WALKED // training.context_length + 1))
        if training.objective != "masked":
            tokens = training.context_length
            ids = torch.zeros(min(within, max(1, TOKENS_PER_BATCH // tokens)), tokens, dtype=torch.long)
            hidden = network.model(ids, causal=True)
            token_losses(hidden.flatten(0, 1), output_head(network), ids.flatten())

    return _need(lambda: LanguageModel(model, seed=None), loss, training, rows, precision, validate)


def finetuning_need(
    model: ModelConfig, training: FineTuningConfig, *, task: str, precision: torch.dtype
) -> Need:
    """A step of a fine-tuning, of which every example is as long as it may be."""
    length = min(training.max_tokens, model.max_position_embeddings)

    def loss(network: Any, count: int) -> Tensor:
        ids = torch.zeros(count, length, dtype=torch.long)
        targets = torch.zeros(count, 2 if task == QUESTION_ANSWERING else 1, dtype=torch.long)
        batch = ExampleBatch(ids, torch.ones_like(ids, dtype=torch.bool), targets, 0)
        return _translation_loss(network, batch) if isinstance(network, Translator) else network.loss(batch)

    def build() -> nn.Module:
        return head_for(task, LanguageModel(model, seed=None))

    return _need(build, loss, training, training.batch_size, precision)


def head_for(task: str, network: LanguageModel) -> nn.Module:
    """A new head of a task on a network, with as many labels as a sentiment has at least."""
    if task == SENTIMENT:
        return Classifier(network, tuple(str(number) for number in range(_LABELS)))
    return SpanExtractor(network) if task == QUESTION_ANSWERING else Translator(network)


def _translation_loss(network: Translator, batch: ExampleBatch) -> Tensor:
    """`Translator.loss` where every token counts: which ones do is not known without content."""
    hidden = network.model.model(batch.input_ids, causal=True, attention_mask=batch.attention_mask)
    logits = network.model.logits(hidden[:, :-1].flatten(0, 1)).float()
    return cross_entropy(logits, batch.input_ids[:, 1:].flatten())


def _need(
    build: Callable[[], nn.Module],
    loss: Loss,
    config: OptimisationConfig,
    rows: int,
    precision: torch.dtype,
    validate: Callable[[Any], None] | None = None,
) -> Need:
    """Go through two steps: the first makes the optimiser's state, the second finds it there.

    Then through a validation, while the gradients of the step are still there; and a checkpoint, which writes a
    copy of the weights.
    """
    with _counting() as book:
        network = build()
        weights = book.live
        optimiser = make_optimiser(network, config, orthogonal_dtype=precision)
        _step(network, optimiser, loss, min(rows, _FEW_ROWS), config, precision)
        gradients = sum(p.grad.nbytes for p in network.parameters() if p.grad is not None)
        state = book.live - weights - gradients
        book.peak = book.live
        _step(network, optimiser, loss, rows, config, precision)
        if validate is not None:
            with torch.no_grad(), autocast(torch.device("cpu"), precision):
                validate(network)
    return Need(weights, gradients, state, max(weights, book.peak - weights - gradients - state))


def _step(
    network: nn.Module,
    optimiser: MuonAdamW,
    loss: Loss,
    rows: int,
    config: OptimisationConfig,
    precision: torch.dtype,
) -> None:
    """As the training steps of `Pretraining` and `FineTuning`, but for what only costs time."""
    micro_batches = config.micro_batches if isinstance(config, TrainingConfig) else 1
    optimiser.zero_grad(set_to_none=True)
    for _ in range(min(2, micro_batches)):  # the second already finds gradients to add to
        with autocast(torch.device("cpu"), precision):
            value = loss(network, rows)
        value.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(network.parameters(), config.gradient_clip)
    optimiser.step()


@contextmanager
def _counting() -> Iterator[_Book]:
    with FakeTensorMode(allow_non_fake_inputs=True), _Book() as book:  # type: ignore[no-untyped-call]
        yield book


class _Book(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Bytes of storages that are alive, and the most there were."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in tree_iter(result):
            if isinstance(value, Tensor):
                self._enter(value)
        return result

    def _enter(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        place = int(storage._cdata)
        if place not in self._known:
            self._known.add(place)
            self.live += storage.nbytes()
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._leave, place, storage.nbytes())

    def _leave(self, place: int, size: int) -> None:
        self._known.discard(place)
        self.live -= size
