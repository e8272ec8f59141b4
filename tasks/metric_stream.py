"""Metrics of a stage at work, step by step, on their way to its MLflow run."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from tasks.tracking import Tracker, metrics_of

if TYPE_CHECKING:
    from tasks.tracking import Metric

logger = logging.getLogger(__name__)

_FLUSH_AT = 500
_FLUSH_SECONDS, _LONGEST_PAUSE_SECONDS = 2.0, 60.0
_MOST_WAITING = 200_000
"""A store that stays away must not fill the memory of a long training."""


class MetricStream:
    """Step-by-step metrics of one run, buffered so that a training step never waits for the database.

    A store that cannot be reached does not end a training: what it did not take waits for the next attempt.
    """

    def __init__(self, tracker: Tracker, run_id: str) -> None:
        self._tracker, self._run_id = tracker, run_id
        self._metrics: list[Metric] = []
        self._tags: dict[str, str] = {}
        self._told: set[str] = set()
        self._flushed = time.monotonic()
        self._pause = _FLUSH_SECONDS

    def __call__(self, step: int, values: Mapping[str, float]) -> None:
        """Take the metrics of one step."""
        metrics, non_finite = metrics_of(step, values)
        self._metrics += metrics
        # The first step at which a number went wrong is the one to know.
        self._tags |= {name: what for name, what in non_finite.items() if name not in self._told}
        self._told |= non_finite.keys()
        waited = time.monotonic() - self._flushed
        if waited > self._pause or (len(self._metrics) >= _FLUSH_AT and self._pause == _FLUSH_SECONDS):
            self.flush()

    def flush(self) -> None:
        """Write what is waiting."""
        try:
            self._tracker.log_batch(self._run_id, self._metrics, self._tags)
            self._metrics, self._tags, self._pause = [], {}, _FLUSH_SECONDS
        except Exception as error:
            self._pause = min(2 * self._pause, _LONGEST_PAUSE_SECONDS)
            lost = max(len(self._metrics) - _MOST_WAITING, 0)
            del self._metrics[:lost]
            logger.warning(
                "MLflow took no metrics (%s); %d wait, %d are lost",
                type(error).__name__,
                len(self._metrics),
                lost,
            )
        self._flushed = time.monotonic()


_stream: ContextVar[MetricStream | None] = ContextVar("unveil_metrics", default=None)


def log_step(step: int, values: Mapping[str, float]) -> None:
    """Log metrics of one step to the MLflow run of the stage at work; does nothing outside a stage."""
    stream = _stream.get()
    if stream is not None:
        stream(step, values)


@contextmanager
def streaming(tracker: Tracker, run_id: str) -> Iterator[None]:
    """Send ``log_step`` to a run while the block lasts; what is buffered is written even if it fails."""
    stream = MetricStream(tracker, run_id)
    token = _stream.set(stream)
    try:
        yield
    finally:
        _stream.reset(token)
        stream.flush()
