"""A process that reads datasets as it is told on its standard input, one JSON line each; answers in the same way.

A process of its own, because Hugging Face's libraries learn where the hub is when they are imported.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from tasks.errors import SourceError, UnknownError
from tasks.sources import files, hub
from tasks.sources.config import HuggingFaceSource
from tasks.sources.outcomes import Kept


def main() -> None:
    """Answer until the input ends."""
    for line in sys.stdin:
        told = json.loads(line)
        source = HuggingFaceSource.model_validate({"domain": "web", "licence": "CC0-1.0", **told["source"]})
        try:
            answer = {"done": _done(told["do"], source)}
        except (SourceError, UnknownError) as error:
            answer = {"error": str(error)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _done(what: str, source: HuggingFaceSource) -> Any:
    if what == "read":
        outcomes = hub.read(source, files.interpreter(source, 1 << 20))
        return [o.values["text"] if isinstance(o, Kept) else str(o) for o in outcomes]
    return hub.digests(source, fetch=what == "observe")


if __name__ == "__main__":
    main()
