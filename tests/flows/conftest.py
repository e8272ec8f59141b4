"""What the sweeps over the stages share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `tests.flows.tiny_lifecycle` keeps its finished workspace; the first sweep makes it."""
    return tmp_path_factory.mktemp("tiny")
