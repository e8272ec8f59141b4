"""Every test runs in a workspace of its own, whatever the user's environment says."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import pytest

# Before anything of the project is imported: importing it settles where Prefect, MLflow and the caches live.
for _name in [name for name in os.environ if name.startswith(("UNVEIL_", "PREFECT_", "MLFLOW_"))]:
    del os.environ[_name]
_SESSION = Path(tempfile.mkdtemp(prefix="unveil-tests-"))
atexit.register(shutil.rmtree, _SESSION, ignore_errors=True)
os.environ["UNVEIL_HOME"] = str(_SESSION / "home")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty workspace, which this process and its children use."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("UNVEIL_HOME", str(home))
    return home


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tracking database with all tables and no experiment; making one takes seconds."""
    from mlflow.tracking import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}")
    return path


@pytest.fixture
def tracked_workspace(workspace: Path, migrated_database: Path) -> Path:
    """A workspace whose tracking database is ready."""
    shutil.copyfile(migrated_database, workspace / "mlflow.db")
    return workspace


@pytest.fixture
def root() -> Path:
    """The project's folder."""
    return ROOT
