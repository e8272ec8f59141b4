"""The child process that prepares documents one by one: text out of markup, standard form, language.

Started by `tasks.cleaning.pool` as ``python -m tasks.cleaning.worker TIMEOUT MEMORY_MB KINDS``. Frames of JSON with
their length in front go in by standard input and out by standard output; nothing is pickled. A document that
takes too long or too much memory ends the process, and with it nothing else.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import struct
import sys
from collections.abc import Collection
from typing import IO, Any

from tasks.cleaning.changes import of_preparation
from tasks.cleaning.extraction import ExtractionError, extract
from tasks.cleaning.language import identify
from tasks.cleaning.pii import mask
from tasks.cleaning.standardisation import UnstableTextError, standardise

_LENGTH = struct.Struct(">Q")
STALLED = 6
"""Wall-clock seconds allowed for each processor second: a document that waits is stopped as well."""
OUT_OF_MEMORY, UNREADABLE = "out-of-memory", "unreadable"


def read_frame(stream: IO[bytes]) -> dict[str, Any] | None:
    """One message, or None at the end of the stream, also when that comes in the middle of a message."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    size = _LENGTH.unpack(head)[0]
    body = stream.read(size)
    return json.loads(body) if len(body) == size else None


def write_frame(stream: IO[bytes], message: dict[str, Any]) -> None:
    """Send one message."""
    body = json.dumps(message).encode()
    stream.write(_LENGTH.pack(len(body)) + body)
    stream.flush()


def prepare(text: str, form: str, kinds: Collection[str]) -> dict[str, Any]:
    """The document's clean text with its language, or the kind and the reason of the failure."""
    try:
        extracted = extract(text, form)
        standard = standardise(extracted)
        masked = mask(standard, kinds)
        clean = standardise(masked.text)
        language = identify(clean)
    except MemoryError:
        return {"failure": OUT_OF_MEMORY, "reason": "needs more memory than extraction.memory_mb allows"}
    except RecursionError:
        return {"failure": UNREADABLE, "reason": "is nested too deeply"}
    except (ExtractionError, UnstableTextError) as error:
        return {"failure": UNREADABLE, "reason": str(error)}
    except ImportError:
        raise
    except Exception as error:  # a parser's own bug, of any type: this document fails, the others go on
        return {"failure": UNREADABLE, "reason": f"the parser failed ({type(error).__name__})"}
    found = {
        "language": language.code,
        "confidence": language.confidence,
        "others": language.others,
        "masked": masked.counts,
    }
    changes = of_preparation((text, extracted, standard, clean), masked.counts)
    return {"text": clean, "changes": changes, **found}


def main() -> None:
    """Answer documents until the input ends; a broken installation is reported, not blamed on a document."""
    timeout, memory_mb, kinds = float(sys.argv[1]), int(sys.argv[2]), sys.argv[3].split()
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get between the frames
    resource.setrlimit(resource.RLIMIT_AS, (memory_mb << 20, memory_mb << 20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # The default action of both signals ends the process, also in the middle of native code that never
    # returns.
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    try:
        identify("warm up")
        while (request := read_frame(requests)) is not None:
            if request["format"] == "html":
                import trafilatura  # noqa: F401 - its import must not count as the first page's time
            _set_timers(timeout)
            answer = prepare(request["text"], request["format"], kinds)
            _set_timers(0)
            write_frame(answers, answer)
    except ImportError as error:
        write_frame(answers, {"broken": str(error)})


def _set_timers(seconds: float) -> None:
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, seconds * STALLED)


if __name__ == "__main__":
    main()
