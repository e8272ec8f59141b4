"""Twelve places where no workspace may be, a few where one may, and what a source may not read (matrix row 4)."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flows import cli
from tasks import places
from tasks.environment import workspace
from tasks.errors import ConfigError

CONFIG = """
extends: smoke
sources:
  - {type: files, path: "corpus/**/*.txt", domain: books, licence: CC0-1.0}
"""


def _the_source(folder: Path) -> str:
    return str(folder / "corpus")


def _inside_the_source(folder: Path) -> str:
    return str(folder / "corpus" / "deep" / "workspace")


def _around_the_source(folder: Path) -> str:
    return str(folder)


def _a_file(folder: Path) -> str:
    return str(folder / "corpus" / "a.txt")


def _below_a_file(folder: Path) -> str:
    return str(folder / "corpus" / "a.txt" / "workspace")


def _a_link_to_the_source(folder: Path) -> str:
    (folder / "link").symlink_to(folder / "corpus")
    return str(folder / "link")


def _below_a_link_into_the_source(folder: Path) -> str:
    (folder / "link").symlink_to(folder / "corpus")
    return str(folder / "link" / "workspace")


def _a_loop_of_links(folder: Path) -> str:
    (folder / "one").symlink_to(folder / "two")
    (folder / "two").symlink_to(folder / "one")
    return str(folder / "one" / "workspace")


def _a_long_name(folder: Path) -> str:
    return str(folder / ("x" * 300))


def _a_path_of_4096_characters(folder: Path) -> str:
    return str(folder / "/".join(["y" * 99] * 41))[:4096]


def _a_newline(folder: Path) -> str:
    return str(folder / "work\nspace")


def _other_files(folder: Path) -> str:
    (folder / "home").mkdir()
    (folder / "home" / "letter.doc").write_text("private")
    return str(folder / "home")


PLACES: list[Callable[[Path], str]] = [
    _the_source,
    _inside_the_source,
    _around_the_source,
    _a_file,
    _below_a_file,
    _a_link_to_the_source,
    _below_a_link_into_the_source,
    _a_loop_of_links,
    _a_long_name,
    _a_path_of_4096_characters,
    _a_newline,
    _other_files,
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A corpus and a configuration that reads it."""
    (tmp_path / "corpus" / "deep").mkdir(parents=True)
    for name in ("a.txt", "deep/b.txt"):
        (tmp_path / "corpus" / name).write_text(f"The text of {name}.\n")
    (tmp_path / "my.yaml").write_text(CONFIG)
    return tmp_path


def everything(folder: Path) -> dict[str, str]:
    """Each name under a folder, and what is there."""
    found = {}
    for path in sorted(folder.rglob("*")):
        content = "folder" if path.is_dir() else f"-> {os.readlink(path)}" if path.is_symlink() else ""
        found[str(path)] = content or hashlib.sha256(path.read_bytes()).hexdigest()
    return found


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_a_place_that_cannot_be_a_workspace_is_refused_before_any_work(
    place: Callable[[Path], str],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("UNVEIL_HOME", place(folder))
    monkeypatch.chdir(folder)
    before = everything(folder)
    assert cli.main(["run", "--config", "my.yaml"]) == 2
    captured = capsys.readouterr()
    assert len(captured.err.splitlines()) == 1 and "UNVEIL_HOME" in captured.err
    assert "Traceback" not in captured.err and not captured.out
    assert everything(folder) == before


def test_a_place_without_permission_is_refused(folder: Path) -> None:
    locked = folder / "locked"
    locked.mkdir(mode=0o555)
    told = as_nobody(locked / "workspace") if os.geteuid() == 0 else refused(locked / "workspace")
    assert "no permission" in told and not list(locked.iterdir())


def test_a_read_only_file_system_is_refused() -> None:
    assert "cannot be" in refused(Path("/proc/1/workspace"))


@pytest.mark.parametrize("name", ["with space", "wörk—空間", "a#b?c%41&d;'e\"", "missing/parents/of/it"])
def test_an_unusual_name_is_none_of_our_business(name: str, tmp_path: Path) -> None:
    places.usable(tmp_path / name)


def test_a_link_to_a_folder_of_its_own_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    monkeypatch.setenv("UNVEIL_HOME", str(tmp_path / "link"))
    assert workspace() == tmp_path / "disk"
    places.usable(workspace())


@pytest.mark.parametrize(
    ("pattern", "home", "reaches"),
    [
        ("/a/*.txt", "/a", True),
        ("/a/*.txt", "/a/home", False),
        ("/a/*/*.txt", "/a/home", True),
        ("/a/**/*.txt", "/a/b/c/home", True),
        ("/a/**/*.txt", "/a/.unveil", False),
        ("/a/.*/*.txt", "/a/.unveil", True),
        ("/a/**/*.txt", "/b", False),
        ("/a/home/downloads/x.txt", "/a/home", True),
        ("/a/b.txt", "/a/b.txt/home", False),
        ("/a/h?me/**", "/a/home", True),
    ],
)
def test_a_source_may_not_read_what_a_run_writes(pattern: str, home: str, reaches: bool) -> None:
    if not reaches:
        places.apart(Path(home), [pattern])
        return
    with pytest.raises(ConfigError, match="from the workspace"):
        places.apart(Path(home), ["/elsewhere/*.txt", pattern])


def refused(place: Path) -> str:
    """What is said about a place."""
    with pytest.raises(ConfigError) as caught:
        places.usable(place)
    return str(caught.value)


def as_nobody(place: Path) -> str:
    """The same, asked by a process without the powers of root; the folders above it must let it in."""
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom tasks import places\nos.setuid(65534)\n"
        "print(places._problem(Path(sys.argv[1])))"
    )
    for parent in place.parent.parents:
        if parent.stat().st_uid == os.geteuid() and len(parent.parts) > 2:
            parent.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", code, str(place)], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout
