"""Child processes that prepare documents; a document that kills its child is the only one to suffer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple

from tasks import shortage
from tasks.cleaning import worker
from tasks.cleaning.changes import Change
from tasks.cleaning.config import ExtractionConfig
from tasks.cleaning.language import Language
from tasks.cleaning.pii import KINDS
from tasks.errors import UnveilError

_ROOT = Path(__file__).resolve().parent.parent.parent
# What the child is given of the environment: parsers of hostile input need no secrets.
_PASSED_ON = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "PYTHONPATH",
    "VIRTUAL_ENV",
    "UNVEIL_HOME",
)
_MOST_WORKERS = 16
# Documents under way for each child; bounds what is in memory when one document is slow and others wait for
# it.
_AHEAD = 8
_CRASHED, _TIMEOUT = "crashed", "timeout"


class Prepared(NamedTuple):
    """A document as its child returned it."""

    text: str
    language: Language
    masked: dict[str, int]
    changes: tuple[Change, ...] = ()


class Failure(NamedTuple):
    """Why a child could not prepare a document."""

    kind: str
    reason: str
    value: float


class Pool:
    """As many children as there are processors, started when first needed and again whenever one dies.

    The number changes the speed only: results come in the order of the documents, and each is made from one
    document.
    """

    def __init__(
        self, config: ExtractionConfig, kinds: Sequence[str] = KINDS, workers: int | None = None
    ) -> None:
        self.config, self.kinds = config, kinds
        self.size = workers or min(_MOST_WORKERS, len(os.sched_getaffinity(0)))
        self._threads = ThreadPoolExecutor(self.size, thread_name_prefix="cleaning")
        self._local = threading.local()
        self._children: list[_Child] = []

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._stop()
        self._threads.shutdown()
        self._stop()  # a thread may have been about to start one

    def prepare(
        self, documents: Iterable[Mapping[str, Any]]
    ) -> Iterator[tuple[Mapping[str, Any], Prepared | Failure]]:
        """Each document with what came of it, in the order given; a document has ``text`` and ``format``.

        Raises:
            UnveilError: a library that the children need is not installed.
        """
        waiting: deque[tuple[Mapping[str, Any], Future[Prepared | Failure]]] = deque()
        for document in documents:
            waiting.append((document, self._threads.submit(self._answer, document)))
            if len(waiting) >= self.size * _AHEAD:
                first, future = waiting.popleft()
                yield first, future.result()
        for document, future in waiting:
            yield document, future.result()

    def _stop(self) -> None:
        for child in list(self._children):
            child.stop()

    def _answer(self, document: Mapping[str, Any]) -> Prepared | Failure:
        child: _Child | None = getattr(self._local, "child", None)
        if child is None:
            child = self._local.child = _Child(self.config, self.kinds)
            self._children.append(child)
        return child.answer({"text": document["text"], "format": document["format"]})


class _Child:
    """One child process at a time, used by one thread."""

    def __init__(self, config: ExtractionConfig, kinds: Sequence[str]) -> None:
        self._config, self._kinds = config, kinds
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def answer(self, request: dict[str, Any]) -> Prepared | Failure:
        """Send one document and wait for what becomes of it.

        SIGKILL is the kernel's, short of memory, or somebody's, and no fault of the document: it gets a
        second try. What is left out must not depend on the memory that there was, so a second one ends the stage.

        Raises:
            UnveilError: a library is missing, or the child was killed twice.
        """
        answer, code = self._ask(request)
        if answer is None and code == -signal.SIGKILL and not self._stopped:
            answer, code = self._ask(request)
        if answer is None and code == -signal.SIGKILL and not self._stopped:
            raise shortage.killed_worker("cleaning", "a smaller cleaning.extraction.memory_mb")
        if answer is None:
            return self._death(code)
        if "broken" in answer:
            raise UnveilError(
                f"a library is missing or broken: {answer['broken']}",
                stage="cleaning",
                remedy="run `make setup` again",
            )
        if "failure" in answer:
            return Failure(answer["failure"], answer["reason"], 0.0)
        language = Language(answer["language"], answer["confidence"], answer["others"])
        changes = tuple(Change(*change) for change in answer["changes"])
        return Prepared(answer["text"], language, answer["masked"], changes)

    def stop(self) -> None:
        """End the process, at work or not."""
        self._stopped = True
        if self._process:
            self._process.kill()
            self._close(self._process)

    def _ask(self, request: dict[str, Any]) -> tuple[dict[str, Any] | None, int]:
        if self._stopped:
            return None, 0
        process = self._process = self._process or _start(self._config, self._kinds)
        try:
            worker.write_frame(_open(process.stdin), request)
            answer = worker.read_frame(_open(process.stdout))
        except (BrokenPipeError, ValueError):
            answer = None
        if answer is None:
            self._close(process)
            self._process = None
        return answer, process.returncode or 0

    def _close(self, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        for stream in (process.stdin, process.stdout):
            try:
                if stream:
                    stream.close()
            except BrokenPipeError:
                continue

    def _death(self, code: int) -> Failure:
        limit = self._config.timeout
        if code == -signal.SIGPROF:
            return Failure(_TIMEOUT, f"took more than {limit:g} processor seconds", limit)
        if code == -signal.SIGALRM:
            return Failure(
                _TIMEOUT, f"stood still for {limit * worker.STALLED:g} seconds", limit * worker.STALLED
            )
        ending = f"signal {-code}" if code < 0 else f"exit code {code}"
        return Failure(_CRASHED, f"ended its process ({ending})", abs(code))


def _open(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise ValueError("the child was started without pipes")
    return stream


def _start(config: ExtractionConfig, kinds: Sequence[str]) -> subprocess.Popen[bytes]:
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    path = os.pathsep.join(filter(None, [str(_ROOT), environment.get("PYTHONPATH")]))
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(  # noqa: S603 - our own module, by the running interpreter
        [
            sys.executable,
            "-m",
            "tasks.cleaning.worker",
            *map(str, (config.timeout, config.memory_mb, " ".join(kinds))),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment | threads | {"PYTHONPATH": path},
        cwd=_ROOT,
    )
