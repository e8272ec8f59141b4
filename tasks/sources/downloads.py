"""Files from the web: fetched once, resumed where they were cut off, and checked.

A file lies at ``<workspace>/downloads/http-<digest of its address>/`` beside ``state.json``, which has its sha256 and
what the server calls its version (ETag). What is on its way is called ``.part``; nothing else ever has the final name.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx

from tasks import locks
from tasks.artifacts import sha256_of, write_synced
from tasks.environment import workspace
from tasks.errors import SourceError, UnknownError, describe
from tasks.sources import web
from tasks.sources.outcomes import digest

_LOG = logging.getLogger(__name__)
_PAUSES = (0.5, 2.0, 8.0, 20.0)
_LONGEST_PAUSE = 60.0
_SHORT = 5.0  # seconds of silence after which a question about a version is given up
_AGAIN = (408, 425, 429, 500, 502, 503, 504)
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Wanted:
    """A file on the web, and the conditions for taking it; sizes in bytes, times in seconds."""

    url: str
    sha256: str | None = None
    refresh: bool = False
    allow_private: bool = False
    token_env: str | None = None
    max_bytes: int = 1 << 40
    stall: float = 30.0
    patience: float = 6 * 3600.0
    page: bool = True  # whether an HTML page may be what is wanted
    once: bool = (
        False  # whether a refusal is kept as well: who was refused does not ask again at the next run
    )


class _RefusedError(SourceError):
    """The server answered, and not with the file; it would answer the same again, whatever is configured here."""


class _AgainError(Exception):
    """This try failed, and another may not; ``pause`` is what the server asked for, in seconds."""

    def __init__(self, reason: str, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.pause = pause


def fetch(wanted: Wanted, ask: bool) -> Path:
    """Path of a verified copy, downloaded if there is none, or if ``refresh`` is set and the server has another.

    Args:
        wanted: the file.
        ask: whether the server may be asked about a copy that is there; not asking keeps to what was seen before.

    Raises:
        SourceError: the address may not be asked, the server does not deliver, or the file is not what was expected.
    """
    folder = _folder(wanted.url)
    with locks.held(folder.with_name(f".{folder.name}.lock"), f"the download of {wanted.url}"):
        folder.mkdir(parents=True, exist_ok=True)
        path, state = folder / file_name(wanted.url), _state(folder / "state.json")
        good = _is_good(wanted, path, state)
        if "problem" in state and wanted.once and not (ask and (wanted.refresh or not state["final"])):
            raise SourceError(state["problem"], where=wanted.url)
        if not good or (wanted.refresh and ask):
            _remembered(wanted, path, state if good else {})
    return path


def kept(wanted: Wanted) -> Path:
    """Path of the copy that a run would use, told without downloading, locking or writing anything.

    Where a run would ask the server for another version, it is asked for the headers alone, once and shortly.

    Raises:
        UnknownError: there is no such copy, or it cannot be told whether there is another version.
        SourceError: it could not be had before, and would not be asked for again.
    """
    folder = _folder(wanted.url)
    path, state = folder / file_name(wanted.url), _state(folder / "state.json")
    if wanted.once and not wanted.refresh and state.get("final"):
        raise SourceError(state["problem"], where=wanted.url)
    if not _is_good(wanted, path, state):
        raise UnknownError(f"{wanted.url} would be downloaded, and cannot be told without")
    if wanted.refresh:
        _ask_for_headers(wanted, state)
    return path


def known(url: str) -> bool:
    """Whether it was had before, or refused; perhaps it is an old copy."""
    state = _state(_folder(url) / "state.json")
    return bool(state.get("sha256") or state.get("final"))


def file_name(url: str) -> str:
    """A safe name with the suffixes of the address, by which the format is told."""
    name = _UNSAFE.sub("_", unquote(urlsplit(url).path).rsplit("/", 1)[-1]).lstrip(".")
    return name[-100:] or "index.html"


def _folder(url: str) -> Path:
    return workspace() / "downloads" / f"http-{digest(url)[:32]}"


def _is_good(wanted: Wanted, path: Path, state: dict[str, Any]) -> bool:
    """Whether there is a copy, undamaged and the one that is wanted."""
    found = state.get("sha256")
    return bool(found) and path.is_file() and wanted.sha256 in (None, found) and sha256_of(path) == found


def _remembered(wanted: Wanted, path: Path, state: dict[str, Any]) -> None:
    """Download it. What could not be had is noted if it is wanted once, so that reading finds what was observed."""
    try:
        _download(wanted, path, state)
    except SourceError as error:
        if wanted.once:
            final = isinstance(error, _RefusedError)
            refusal = {"problem": error.problem, "final": final, "url": wanted.url}
            write_synced(path.with_name("state.json"), json.dumps(refusal))
        raise


def _ask_for_headers(wanted: Wanted, state: dict[str, Any]) -> None:
    """Ask whether the version of the copy is still the server's.

    Raises:
        UnknownError: it is not, or the server does not say so.
    """
    headers = {"Accept-Encoding": "identity", **_unless(state)}
    try:
        with (
            web.client(min(wanted.stall, _SHORT)) as http,
            web.answer(http, wanted.url, headers, _token(wanted), wanted.allow_private, "HEAD") as response,
        ):
            code, version = response.status_code, _version(response)
    except (httpx.HTTPError, SourceError) as error:
        raise UnknownError(f"{wanted.url} cannot be asked for its version ({describe(error)})") from error
    if code == 304 or (code == 200 and version and version == state.get("version")):
        return
    told = "has another version, which would be downloaded" if code == 200 else f"answers {code}"
    raise UnknownError(f"{wanted.url}: the server {told}, and more cannot be told without downloading")


def _unless(state: dict[str, Any]) -> dict[str, str]:
    """The headers that ask for a file only if it is not the version of a copy."""
    version = state.get("version")
    return {"If-None-Match" if '"' in version else "If-Modified-Since": version} if version else {}


def _download(wanted: Wanted, path: Path, state: dict[str, Any]) -> None:
    started, problem = time.monotonic(), ""
    with web.client(wanted.stall) as http:
        for pause in (*_PAUSES, None):
            try:
                _try(http, wanted, path, state, started)
                return
            except _AgainError as error:
                problem, asked = str(error), error.pause
            except httpx.HTTPError as error:
                problem, asked = describe(error) or type(error).__name__, 0.0
            if pause is None or time.monotonic() - started > wanted.patience:
                break
            _LOG.warning("%s: %s; trying again", wanted.url, problem)
            time.sleep(min(max(pause, asked), _LONGEST_PAUSE))
    raise SourceError(
        f"cannot be downloaded: {problem}",
        where=wanted.url,
        remedy="run again to go on where it stopped, or leave this source out",
    )


def _try(http: httpx.Client, wanted: Wanted, path: Path, state: dict[str, Any], started: float) -> None:
    """One request; goes on behind what a former one left."""
    part, note = path.with_name(f"{path.name}.part"), path.with_name("part.json")
    version = _state(note).get("version", "")
    offset = part.stat().st_size if part.is_file() and version else 0
    headers = {"Accept-Encoding": "identity"}
    if offset:
        headers |= {"Range": f"bytes={offset}-", "If-Range": version}
    else:
        headers |= _unless(state)
    with web.answer(http, wanted.url, headers, _token(wanted), wanted.allow_private) as response:
        if response.status_code == 304 and state:
            return
        _refuse(response, wanted, part)
        if response.status_code == 200 or not _goes_on(response, offset):
            offset = 0
            part.unlink(missing_ok=True)
        version = _version(response)
        write_synced(note, json.dumps({"version": version}))
        _receive(response, wanted, part, offset, started)
    _finish(wanted, path, part, note, version)


def _refuse(response: httpx.Response, wanted: Wanted, part: Path) -> None:
    code = response.status_code
    if code == 416:
        part.unlink(missing_ok=True)
        raise _AgainError("the server no longer has the rest of the file")
    if code in _AGAIN:
        after = response.headers.get("retry-after", "")
        raise _AgainError(f"the server answers {code}", float(after) if after.isdigit() else 0.0)
    if code not in (200, 206):
        raise _RefusedError(f"the server answers {code} {response.reason_phrase}".strip(), where=wanted.url)
    if not wanted.page and response.headers.get("content-type", "").startswith(
        ("text/html", "application/xhtml")
    ):
        raise _RefusedError(
            "the server answers with a web page instead of the file",
            where=wanted.url,
            remedy="open the address in a browser; it may ask for a login",
        )


def _goes_on(response: httpx.Response, offset: int) -> bool:
    found = re.match(r"bytes (\d+)-", response.headers.get("content-range", ""))
    if found is None or int(found[1]) != offset:
        raise _AgainError("the server sent another part of the file than was asked for")
    return True


def _receive(response: httpx.Response, wanted: Wanted, part: Path, offset: int, started: float) -> None:
    length = response.headers.get("content-length", "")
    encoded = response.headers.get("content-encoding", "identity") != "identity"
    expected = offset + int(length) if length.isdigit() and not encoded else None
    if expected is not None and expected > wanted.max_bytes:
        raise _too_large(wanted)
    size = offset
    with part.open("ab") as file:
        for block in response.iter_bytes():
            size += len(block)
            if size > wanted.max_bytes:
                raise _too_large(wanted)
            if time.monotonic() - started > wanted.patience:
                raise SourceError(f"is not here after {wanted.patience:g} seconds", where=wanted.url)
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    if expected is not None and size != expected:
        raise _AgainError(f"the answer ended after {size} of {expected} bytes")


def _finish(wanted: Wanted, path: Path, part: Path, note: Path, version: str) -> None:
    found = sha256_of(part)
    if wanted.sha256 not in (None, found):
        part.unlink()
        raise SourceError(
            f"has the sha256 {found} instead of {wanted.sha256}",
            where=wanted.url,
            remedy="correct `sha256`, or find out who changed the file",
        )
    part.replace(path)
    write_synced(
        path.with_name("state.json"), json.dumps({"sha256": found, "version": version, "url": wanted.url})
    )
    note.unlink(missing_ok=True)
    _LOG.info("downloaded %s: %.1f MB", wanted.url, path.stat().st_size / 1e6)


def _version(response: httpx.Response) -> str:
    """A strong ETag, else the date of the last change; nothing that cannot vouch for single bytes."""
    if response.headers.get("content-encoding", "identity") != "identity":
        return ""
    etag = response.headers.get("etag", "")
    return etag if etag.startswith('"') else str(response.headers.get("last-modified", ""))


def _token(wanted: Wanted) -> str:
    if wanted.token_env is None:
        return ""
    token = os.environ.get(wanted.token_env, "")
    if not token:
        raise SourceError(
            f"needs the environment variable {wanted.token_env}, which is not set", where=wanted.url
        )
    return token


def _too_large(wanted: Wanted) -> SourceError:
    return SourceError(f"has more than {wanted.max_bytes} bytes, which max_bytes allows", where=wanted.url)


def _state(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
