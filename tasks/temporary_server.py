"""The server that Prefect starts for a run without ``PREFECT_API_URL``, made to end with that run however it ends.

Prefect stops it when the interpreter exits, which a killed one never does: the server then stays for good. Ours
looks twice a second whether the process that started it is still its parent. That holds whichever thread started
it (Linux's death signal follows the thread, not the process), on every Unix, and can end no other process.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parent.parent
_LOOK_SECONDS, _GRACE_SECONDS = 0.5, 3.0
_FACTORY = "prefect.server.api.server:create_app"


def guard() -> None:
    """See to it that a server which Prefect starts from now on ends with this process; needed before each use."""
    from prefect.settings import PREFECT_API_URL

    if PREFECT_API_URL.value():
        return
    from prefect.server.api.server import SubprocessASGIServer

    SubprocessASGIServer._run_uvicorn_command = _start


def _start(server: Any) -> subprocess.Popen[bytes]:
    """In place of Prefect's method: the same server, started by way of `main`.

    In a session of its own, so that the terminal's Ctrl-C leaves it up until the run has said how it ended.
    """
    from prefect.settings import get_current_settings

    settings = get_current_settings().to_environment_variables(exclude_unset=True)
    only_here = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    listening = ("--host", "127.0.0.1", "--port", str(server.port))
    command = [sys.executable, "-m", "tasks.temporary_server", str(os.getpid()), *listening]
    return subprocess.Popen(  # noqa: S603 - our own module, by the running interpreter
        command, env={**os.environ, **only_here, **settings, "PYTHONPATH": path}, start_new_session=True
    )


def main() -> None:
    """Serve until told to stop, or until the process with the given id is no longer this one's parent."""
    parent = int(sys.argv[1])
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    import uvicorn

    quiet = ("--log-level", "error", "--lifespan", "on")
    uvicorn.main([*sys.argv[2:], "--factory", *quiet, _FACTORY])


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    main()
