"""What remote objects held when they were last read, so that a question about them need not read them again.

Only questions lean on it: a run reads every byte anew.
"""

from __future__ import annotations

import json

from tasks.durable import replace_atomically
from tasks.environment import workspace
from tasks.errors import UnknownError
from tasks.sources import blobs
from tasks.sources.outcomes import digest
from tasks.sources.remote import RemoteFile


class Memory:
    """The digest of each object of one address, and the state (size, time, ETag) in which it had it."""

    def __init__(self, address: str) -> None:
        self._path = workspace() / "downloads" / f"remote-{digest(address)[:32]}.json"
        self._learnt: dict[str, list[str]] = {}

    def learn(self, file: RemoteFile, uri: str) -> str:
        """The sha256 of an object, every byte read; noted with the state that it had before.

        Raises:
            OSError: it cannot be read.
        """
        state, found = file.state(), blobs.digest(file)
        self._learnt[uri] = [state, found]
        return found

    def recall(self, file: RemoteFile, uri: str) -> str:
        """The sha256 that it had in the state in which it is.

        Raises:
            OSError: its state cannot be had.
            UnknownError: it was not read in this state.
        """
        noted = self._noted().get(uri)
        if noted is None or noted[0] != file.state():
            raise UnknownError(f"{uri} would be read over the network, and cannot be told without")
        return str(noted[1])

    def keep(self) -> None:
        """Write what was learnt, if anything was."""
        if self._learnt:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            replace_atomically(self._path, json.dumps(self._learnt))

    def _noted(self) -> dict[str, list[str]]:
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}
