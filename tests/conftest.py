"""Every test runs in a workspace of its own, whatever the user's environment says."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

# Before anything of the project is imported: importing it settles where Prefect, MLflow and the caches live.
for _name in [name for name in os.environ if name.startswith(("UNVEIL_", "PREFECT_", "MLFLOW_"))]:
    del os.environ[_name]
_SESSION = Path(tempfile.mkdtemp(prefix="unveil-tests-"))
atexit.register(shutil.rmtree, _SESSION, ignore_errors=True)
os.environ["UNVEIL_HOME"] = str(_SESSION / "home")
# Under `nohup`, and behind a script's `&`, these are ignored; children inherit that, but not a handler.
for _number in (signal.SIGHUP, signal.SIGINT):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, lambda *_: None)
# Several processes of tests share the cores; each would start as many threads as there are, and they would spin.
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    _each = (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, _each)))

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty workspace, which this process and its children use."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("UNVEIL_HOME", str(home))
    return home


def made_once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that the first process to want it fills, for all that run tests (`pytest -n` gives each a session)."""
    from tasks import locks

    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder, finished = base / name, base / f"{name}.finished"
    with locks.held(base / f"{name}.lock"):
        if not finished.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            finished.touch()
    return folder


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tracking database with all tables and no experiment; making one takes seconds."""

    def make(folder: Path) -> None:
        from mlflow.tracking import MlflowClient

        MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")

    return made_once(tmp_path_factory, "mlflow", make) / "mlflow.db"


@pytest.fixture
def tracked_workspace(workspace: Path, migrated_database: Path) -> Path:
    """A workspace whose tracking database is ready."""
    shutil.copyfile(migrated_database, workspace / "mlflow.db")
    return workspace


@pytest.fixture
def root() -> Path:
    """The project's folder."""
    return ROOT


@dataclass(frozen=True)
class Workspace:
    """A workspace and the `unveil` command that works in it, in a process of its own."""

    home: Path
    first: dict[str, Any] = field(default_factory=dict)  # the ledger of the run that made it

    def __call__(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run `unveil` with these arguments from some folder (a temporary one, not the project's)."""
        return subprocess.run(
            [sys.executable, "-m", "flows.cli", *arguments],
            capture_output=True,
            text=True,
            timeout=600,
            cwd=cwd or self.home.parent,
            env=self.environment(),
            check=False,
        )

    def environment(self) -> dict[str, str]:
        """The environment of that process: this one's, without what Prefect and MLflow would take from it."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_", "UNVEIL_"))}
        return kept | {"UNVEIL_HOME": str(self.home), "PYTHONPATH": str(ROOT)}

    def ledger(self) -> dict[str, Any]:
        """The newest run's ledger."""
        from tasks.ledgers import LEDGER, read_ledger

        return read_ledger(self.home / "runs" / "latest" / LEDGER)


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace in which `unveil run --preset smoke` has succeeded; tests that change its results copy it.

    Each process of tests has its own, since some start another run in it and look at the newest.
    """
    workspace = Workspace(tmp_path_factory.mktemp("smoke") / "workspace")
    done = workspace("run", "--preset", "smoke")
    assert done.returncode == 0, done.stderr
    (workspace.home.parent / "stdout.txt").write_text(done.stdout, encoding="utf-8")
    return replace(workspace, first=workspace.ledger())


@pytest.fixture(scope="session")
def package_registry(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skip what needs a package registry where none answers."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest"]
    folder = tmp_path_factory.mktemp("registry")
    done = subprocess.run([*command, str(folder), "six==1.16.0"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no package registry: {done.stderr.strip()[-200:]}")


@pytest.fixture(autouse=True)
def _registry_where_needed(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("network"):
        request.getfixturevalue("package_registry")
