"""Prefect's `flow`, loaded once the workspace is there: Prefect looks for its own folder when it is imported."""

from __future__ import annotations

import contextlib

from tasks import environment

# A place that cannot be one is refused by name before a run begins (`flows.running`).
with contextlib.suppress(OSError):
    environment.workspace().mkdir(mode=0o700, parents=True, exist_ok=True)

from prefect import flow

__all__ = ["flow"]
