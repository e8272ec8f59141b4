"""As a program: the `unveil` command again and again in one process, so that Prefect's server starts only once.

Reads arguments as one JSON list a line; after each command one line with its exit status goes back. What the command
and its children say lies in the files ``stdout`` and ``stderr`` of the current folder.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from pathlib import Path


class Commands:
    """Such a process, for tests."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.flows.commands"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one command; its exit status and what it said."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(arguments) + "\n")
        self.process.stdin.flush()
        assert select.select([self.process.stdout], [], [], 600)[0], "the command hangs"
        status = int(self.process.stdout.readline())
        said = [(self.folder / name).read_text(encoding="utf-8") for name in ("stdout", "stderr")]
        return subprocess.CompletedProcess(arguments, status, *said)

    def close(self) -> None:
        """End the process in its own way, as when a command has ended."""
        assert self.process.stdin
        self.process.stdin.close()
        try:
            self.process.wait(60)
        finally:
            self.process.kill()


def serve() -> None:
    """Do what the lines of the standard input say."""
    from flows import cli

    answers = os.fdopen(os.dup(1), "w", buffering=1)
    for line in sys.stdin:
        for descriptor, name in ((1, "stdout"), (2, "stderr")):
            file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(file, descriptor)
            os.close(file)
        status = cli.main(json.loads(line))
        sys.stdout.flush()
        sys.stderr.flush()
        answers.write(f"{status}\n")


if __name__ == "__main__":
    serve()
