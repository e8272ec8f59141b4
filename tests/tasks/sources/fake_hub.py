"""A hub of datasets on this machine: speaks what `huggingface_hub` and `datasets` ask for, and notes every question."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from web_server import Handler, Site, serving

Files = Mapping[str, bytes]


@dataclass
class Hub:
    """One dataset with its commits; ``main`` is the newest.

    Attributes:
        site: where the hub answers.
        store: another server, to which it sends for the files themselves, as the real one does for large ones.
        name: of the dataset.
        commits: the files of each commit.
        revisions: branches and tags.
        broken: parts of paths that it answers with an error of its own.
    """

    site: Site
    store: Site
    name: str
    commits: dict[str, Files]
    revisions: dict[str, str]
    broken: tuple[str, ...] = ()
    far: bool = False  # whether files lie in the store
    asked: list[str] = field(default_factory=list)

    def answer(self, handler: Handler) -> None:
        """Answer one question, whatever its method."""
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0)).decode()
        path = unquote(urlsplit(handler.path).path)
        self.asked.append(f"{handler.command} {path}")
        if any(part in path for part in self.broken):
            handler.reply(501, b"the hub is ill")  # unlike 500, not tried again for minutes
        elif path.startswith(f"/api/datasets/{self.name}"):
            self._tell(handler, path.removeprefix(f"/api/datasets/{self.name}").strip("/"), body)
        elif path.startswith(f"/datasets/{self.name}/resolve/"):
            revision, _, file = path.removeprefix(f"/datasets/{self.name}/resolve/").partition("/")
            self._send(handler, self._commit(revision), file)
        else:
            handler.reply(404, b"{}", X_Error_Code="RepoNotFound", X_Error_Message="Repository not found")

    def _commit(self, revision: str) -> str:
        return self.revisions.get(revision, revision)

    def _tell(self, handler: Handler, rest: str, body: str) -> None:
        what, _, place = rest.partition("/")
        revision, _, folder = place.partition("/")
        commit = self._commit(revision or "main")
        if commit not in self.commits:
            handler.reply(404, b"{}", X_Error_Code="RevisionNotFound", X_Error_Message="Invalid rev id")
            return
        files = self.commits[commit]
        found: Any
        if what == "tree":
            found = _listed(files, folder)
        elif what == "paths-info":
            wanted = json.loads(body)["paths"] if body.startswith("{") else parse_qs(body).get("paths", [])
            found = [entry for name in wanted for entry in _entries(files) if entry["path"] == name]
        else:
            siblings = [{"rfilename": name} for name in files]
            found = {"_id": "1", "id": self.name, "sha": commit, "private": False, "tags": [], "downloads": 0}
            found |= {"siblings": siblings}
        handler.reply(200, json.dumps(found).encode(), Content_Type="application/json", X_Repo_Commit=commit)

    def _send(self, handler: Handler, commit: str, name: str) -> None:
        content = self.commits.get(commit, {}).get(name)
        if content is None:
            handler.reply(404, b"", X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
            return
        etag = f'"{_oid(content)}"'
        if self.far:
            self.store.answers[f"/{name}"] = lambda other: _ranged(other, content, ETag=etag)
            linked = {"X_Linked_Etag": etag, "X_Linked_Size": str(len(content)), "X_Repo_Commit": commit}
            handler.reply(302, b"", Location=self.store.url(f"/{name}"), **linked)
            return
        _ranged(handler, content, ETag=etag, X_Repo_Commit=commit)


def _ranged(handler: Handler, content: bytes, **headers: str) -> None:
    wanted = handler.headers.get("Range", "").removeprefix("bytes=")
    if not wanted:
        handler.reply(200, content, Accept_Ranges="bytes", **headers)
        return
    start, _, last = wanted.partition("-")
    part = content[int(start) : int(last) + 1 if last else None]
    place = f"bytes {start}-{int(start) + len(part) - 1}/{len(content)}"
    handler.reply(206, part, Content_Range=place, **headers)


def _entries(files: Files) -> list[dict[str, Any]]:
    return [{"type": "file", "path": name, "size": len(c), "oid": _oid(c)} for name, c in files.items()]


def _listed(files: Files, folder: str) -> list[dict[str, Any]]:
    """What lies right in a folder, folders once each."""
    prefix = f"{folder}/" if folder else ""
    inside = [entry for entry in _entries(files) if entry["path"].startswith(prefix)]
    folders = {e["path"][len(prefix) :].split("/")[0] for e in inside if "/" in e["path"][len(prefix) :]}
    made = [{"type": "directory", "path": prefix + name, "size": 0, "oid": _oid(b"")} for name in folders]
    return made + [entry for entry in inside if "/" not in entry["path"][len(prefix) :]]


def _oid(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


@contextmanager
def hub(name: str, *commits: Files, **revisions: int) -> Iterator[Hub]:
    """A hub until the end of the block; the last of the commits is ``main``."""
    ids = [f"{number:040x}" for number in range(1, len(commits) + 1)]
    with serving() as site, serving() as store:
        places = {"main": ids[-1]} | {tag: ids[at] for tag, at in revisions.items()}
        found = Hub(site, store, name, dict(zip(ids, commits, strict=True)), places)
        site.default = found.answer
        yield found
