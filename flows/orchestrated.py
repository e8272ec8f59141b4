"""Prefect's `flow`, loaded once the workspace is there: Prefect looks for its own folder when it is imported."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from tasks import environment, temporary_server

# A place that cannot be one is refused by name before a run begins (`flows.running`).
with contextlib.suppress(OSError):
    environment.workspace().mkdir(mode=0o700, parents=True, exist_ok=True)

from prefect import Flow

__all__ = ["flow"]


class _Flow(Flow[Any, Any]):
    """A flow whose temporary server, where it needs one, ends with it."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run it, as Prefect does."""
        temporary_server.guard()
        return super().__call__(*args, **kwargs)


def flow(**options: Any) -> Callable[[Callable[..., Any]], _Flow]:
    """Prefect's decorator, with the options of `prefect.Flow`."""
    return lambda function: _Flow(function, **options)
