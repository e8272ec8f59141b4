"""Runs sweeps over stages in processes of their own, several at once: each core has one to do."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 580.0


def at_once(finished: Path, *sweeps: Sequence[str], prefix: Sequence[str] = ()) -> list[Any]:
    """What each sweep (a module of `tests.flows` and its arguments) prints as JSON.

    Each works in a copy of the folder with the finished tiny workspace, outside pytest's own folders, which nobody
    but their owner may enter.
    """
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        started = []
        for number, (module, *arguments) in enumerate(sweeps):
            folder = shutil.copytree(finished, Path(name) / str(number), symlinks=True)
            folder.chmod(0o755)
            command = [*prefix, sys.executable, "-m", f"tests.flows.{module}", str(folder), *arguments]
            outputs = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
            started.append(subprocess.Popen(command, cwd=ROOT, **outputs))
        try:
            told = [process.communicate(timeout=PATIENCE_SECONDS) for process in started]
        finally:
            for process in started:
                process.kill()
                process.wait()
    for process, (_, errors) in zip(started, told, strict=True):
        assert process.returncode == 0, errors[-3000:]
    return [json.loads(output) for output, _ in told]
