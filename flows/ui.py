"""`unveil ui`: the MLflow and Prefect pages over the workspace's own stores, on loopback, stopped together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tasks.errors import ConfigError
from tasks.naming import without_credentials
from tasks.tracking import Tracker

_GRACE_SECONDS = 10.0
# Else MLflow (3.17) opens its pages for agents, all of them empty here.
_TRAINING = "workflowType=machine_learning"


def serve(home: Path, *, mlflow_port: int, prefect_port: int) -> int:
    """Start both servers, wait until interrupted or one of them ends, stop both; returns the exit code.

    Where the runs go to a server of the user's, its page is named and none is started for it.

    Raises:
        ConfigError: there is no workspace, or a server ended by itself.
    """
    if not home.is_dir():
        raise ConfigError("no workspace yet", where=home, remedy="run `unveil run` first, or set UNVEIL_HOME")
    servers: list[subprocess.Popen[bytes]] = []
    try:
        runs = _runs(home, mlflow_port, servers)
        servers.append(_prefect(prefect_port))
        told = (
            f"MLflow   {runs}",
            f"Prefect  http://127.0.0.1:{prefect_port}",
            "Ctrl-C stops what was started.",
        )
        sys.stdout.write("\n".join(told) + "\n")
        sys.stdout.flush()
        while all(server.poll() is None for server in servers):
            time.sleep(0.2)
    except (KeyboardInterrupt, SystemExit):
        return 0
    finally:
        _stop(servers)
    raise ConfigError(
        "a server ended by itself", where="ui", remedy="is its port taken? try --mlflow-port, --prefect-port"
    )


def _runs(home: Path, port: int, servers: list[subprocess.Popen[bytes]]) -> str:
    """The address of the runs' page; starts a server for it, unless the user has one."""
    tracker = Tracker(home)
    if tracker.is_served:
        return f"{without_credentials(tracker.uri).rstrip('/')}/#/experiments?{_TRAINING}"
    tracker.prepare()
    servers.append(_mlflow(home, port))
    return f"http://127.0.0.1:{port}/#/experiments/{tracker.experiment_id}/runs?{_TRAINING}"


def _mlflow(home: Path, port: int) -> subprocess.Popen[bytes]:
    hosts = f"127.0.0.1:{port},localhost:{port}"
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
        *(
            "--backend-store-uri",
            Tracker(home).uri,
            "--default-artifact-root",
            (home / "mlartifacts").as_uri(),
        ),
        *("--allowed-hosts", hosts, "--cors-allowed-origins", f"http://127.0.0.1:{port}", "--workers", "1"),
    ]
    return subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)


def _prefect(port: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    page = f"http://127.0.0.1:{port}"
    # The page asks for the API where the settings say it is, which is port 4200 wherever the server listens.
    environment = os.environ | {
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": page,
        "PREFECT_SERVER_UI_API_URL": f"{page}/api",
    }
    return subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, env=environment)


def _stop(servers: list[subprocess.Popen[bytes]]) -> None:
    """Ask each server's own process group to end, then insist."""
    for server in servers:
        _signal(server, signal.SIGTERM)
    deadline = time.monotonic() + _GRACE_SECONDS
    for server in servers:
        try:
            server.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            _signal(server, signal.SIGKILL)


def _signal(server: subprocess.Popen[bytes], number: int) -> None:
    try:
        os.killpg(server.pid, number)
    except ProcessLookupError:
        return
