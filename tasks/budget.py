"""The budget of the run at work, beside the stages' configuration rather than in it.

A stage's configuration is part of its artefact's key: with a cap in it, a raised cap would be another artefact,
and its training would start anew instead of going on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from models.budget import BudgetConfig, BudgetError
from tasks.errors import UnveilError

_budget: ContextVar[BudgetConfig | None] = ContextVar("unveil_budget", default=None)


def current() -> BudgetConfig:
    """The budget of the run at work; one without a cap outside any."""
    return _budget.get() or BudgetConfig()


@contextmanager
def applied(budget: BudgetConfig) -> Iterator[None]:
    """Let trainings inside the block keep to a budget."""
    token = _budget.set(budget)
    try:
        yield
    finally:
        _budget.reset(token)


@contextmanager
def kept() -> Iterator[None]:
    """Tell a person which cap ended the training inside the block, and how to go on.

    Raises:
        UnveilError: naming the cap, how far the training got, and what it took.
    """
    try:
        yield
    except BudgetError as error:
        raise UnveilError(
            error.problem,
            where=f"budget.{error.cap}",
            remedy="it is saved: raise the cap and run the same command to go on from there",
        ) from error
