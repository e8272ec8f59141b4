"""Datasets read from a hub by name: a real server on this machine, and Hugging Face's own libraries before it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_hub import Hub, hub

ROOT = Path(__file__).resolve().parents[3]
TOKEN = "hf_canary0815"
NAME = "user/set"
Ask = Callable[..., dict[str, Any]]


def parquet(*texts: str) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"text": list(texts)}), buffer)
    return buffer.getvalue()


def jsonl(*texts: str) -> bytes:
    return "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()


OLD = {"data/train-00000-of-00001.parquet": parquet("one", "two", "three")}
NEW = {
    "README.md": b"---\nconfigs:\n- {config_name: small, data_files: small/*.jsonl}\n"
    b"- {config_name: large, data_files: large/*.jsonl}\n---\n",
    "small/a.jsonl": jsonl("small"),
    "large/a.jsonl": jsonl("large 1", "large 2"),
}


@contextmanager
def reader(found: Hub, home: Path, offline: str = "0") -> Iterator[Ask]:
    """A process that asks this hub; at its end it must not have told the token to anybody."""
    environment = {**os.environ, "HF_ENDPOINT": found.site.url(""), "HF_HUB_OFFLINE": offline}
    environment |= {"HF_TOKEN": TOKEN, "UNVEIL_HOME": str(home), "PYTHONPATH": str(ROOT), "HOME": str(home)}
    stores = ("HF_DATASETS_CACHE", "HF_HUB_CACHE", "HF_XET_CACHE")  # settled for this process already
    environment = {name: value for name, value in environment.items() if name not in stores}
    home.mkdir(exist_ok=True)
    log = home / "log.txt"
    with log.open("w") as told:
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("hub_reader.py"))],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=told,
            text=True,
        )
        with process:
            assert process.stdin and process.stdout

            def ask(do: str, **source: Any) -> dict[str, Any]:
                process.stdin.write(json.dumps({"do": do, "source": {"name": NAME, **source}}) + "\n")  # type: ignore[union-attr]
                process.stdin.flush()  # type: ignore[union-attr]
                line = process.stdout.readline()  # type: ignore[union-attr]
                assert line, log.read_text()
                assert TOKEN not in line
                answer: dict[str, Any] = json.loads(line)
                return answer

            yield ask
            process.stdin.close()
    files = [path for path in home.rglob("*") if path.is_file()]
    assert log in files and not [path for path in files if TOKEN.encode() in path.read_bytes()]
    assert all(path.is_relative_to(home / "cache") for path in files if path != log)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Hub, Ask]]:
    """A hub with two commits, of which a tag names the first, and a process that reads from it."""
    with hub(NAME, OLD, NEW, v1=0) as found:
        found.far = True
        with reader(found, tmp_path_factory.mktemp("reader")) as ask:
            yield found, ask


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize(
    ("changes", "rows"),
    [
        ({"revision": "v1"}, ["one", "two", "three"]),
        ({"revision": "v1", "limit": 2}, ["one", "two"]),
        ({"subset": "small"}, ["small"]),
        ({"subset": "large"}, ["large 1", "large 2"]),
    ],
)
def test_streaming_and_whole_give_the_same_rows(
    shared: tuple[Hub, Ask], changes: dict[str, Any], rows: list[str], streaming: bool
) -> None:
    _, ask = shared
    assert ask("read", streaming=streaming, **changes) == {"done": rows}


def test_what_is_not_there_is_told_with_what_there_is(shared: tuple[Hub, Ask]) -> None:
    _, ask = shared
    for changes, told in (
        ({}, "['small', 'large']"),
        ({"subset": "small", "split": "test"}, "test"),
        ({"revision": "no"}, "Revision Not Found"),
        ({"name": "user/other"}, "hf:user/other/train: the hub does not tell its version"),
    ):
        line = ask("read", **changes)["error"]
        assert told in line and "\n" not in line and "\\u000a" not in line and len(line) < 500, line


def test_a_revision_is_pinned_to_the_commit_that_was_observed(shared: tuple[Hub, Ask]) -> None:
    """Also when the branch moves between the observation and the reading."""
    found, ask = shared
    first, second = found.commits
    found.revisions["moving"] = first
    assert ask("observe", revision="moving")["done"] == {f"hf:{NAME}/train": first}
    found.revisions["moving"] = second
    assert ask("read", revision="moving", streaming=True) == {"done": ["one", "two", "three"]}
    assert ask("inspect", revision="moving")["done"] == {f"hf:{NAME}/train": second}
    assert ask("observe", revision="moving")["done"] == {f"hf:{NAME}/train": second}


def test_the_token_goes_to_the_hub_and_to_nobody_else(shared: tuple[Hub, Ask]) -> None:
    found, ask = shared
    ask("read", revision="v1", streaming=True, limit=1)
    sent = [{name.lower(): value for name, value in headers.items()} for _, headers in found.site.asked]
    assert sent and {headers.get("authorization") for headers in sent} == {f"Bearer {TOKEN}"}
    assert found.store.asked and not [h for _, h in found.store.asked if TOKEN in str(h)]


def test_asking_for_the_version_alone_downloads_nothing(shared: tuple[Hub, Ask]) -> None:
    found, ask = shared
    before, sent = len(found.asked), found.site.sent
    assert list(ask("inspect")["done"].values()) == [found.revisions["main"]]
    assert found.asked[before:] == [f"GET /api/datasets/{NAME}"]
    assert found.site.sent - sent < 1000


def test_offline_the_hub_is_not_asked_and_that_is_said(tmp_path: Path) -> None:
    with hub(NAME, OLD) as found, reader(found, tmp_path / "home", offline="1") as ask:
        line = ask("observe")["error"]
        assert line.endswith(
            "asked for its version (HF_HUB_OFFLINE); set HF_HUB_OFFLINE=0, or give a local `path`"
        )
        assert "HF_HUB_OFFLINE" in ask("inspect")["error"]
        pinned = ask("read", revision=found.revisions["main"])["error"]
        assert "set HF_HUB_OFFLINE=0" in pinned and "\n" not in pinned
        assert found.asked == []


def test_code_in_a_dataset_is_never_run(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    script = f"open({str(canary)!r}, 'w')".encode()
    pickled = b"cos\nsystem\n(S'touch " + str(canary).encode() + b"'\ntR."
    site = hub(NAME, {"set.py": script, **OLD}, {"data/train.pkl": pickled}, script=0)
    with site as found, reader(found, tmp_path / "home") as ask:
        assert "scripts are no longer supported" in ask("read", revision="script")["error"]
        for streaming in (True, False):
            assert "error" in ask("read", streaming=streaming)
    assert not canary.exists()


def test_a_hub_that_is_ill_is_one_line_and_no_other_version_takes_its_place(tmp_path: Path) -> None:
    with hub(NAME, OLD, {"a.jsonl": jsonl("new")}, v1=0) as found, reader(found, tmp_path / "home") as ask:
        assert ask("read", revision="v1") == {"done": ["one", "two", "three"]}
        found.broken = ("/resolve/", "/tree/")
        for streaming in (True, False):
            line = ask("read", streaming=streaming)["error"]
            assert "does not deliver commit" in line and "another" in line and "\n" not in line
        found.broken = ("/api/",)
        assert "501" in ask("observe")["error"] and "cannot be known" in ask("inspect")["error"]
