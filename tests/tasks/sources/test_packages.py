from __future__ import annotations

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from archives_of_ours import sdist, sha256, wheel

from tasks.environment import workspace
from tasks.errors import SourceError
from tasks.sources import packages

CANARY = "import pathlib; pathlib.Path({canary!r}).touch()\n"
FOREIGN = "cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64"


@dataclass(frozen=True)
class Pin:
    package: str
    version: str
    filename: str
    sha256: str


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for its registry, so that these tests need no network."""
    folder = tmp_path / "registry"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setattr(packages, "_PAUSES", (0.0, 0.0))
    return folder


def pin(path: Path, package: str = "ourtext", version: str = "1.0", digest: str = "") -> Pin:
    return Pin(package, version, path.name, digest or sha256(path))


def test_a_source_distribution_is_fetched_without_running_its_code(registry: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    setup = CANARY.format(canary=str(canary)).encode()
    toml = b'[build-system]\nrequires = ["no-such-thing"]\nbuild-backend = "setuptools.build_meta"\n'
    path = sdist(registry, "ourtext", "1.0", {"setup.py": setup, "pyproject.toml": toml, "a.txt": b"text"})
    assert packages.fetch(pin(path)).read_bytes() == path.read_bytes()
    assert not canary.exists()


def test_a_project_without_pyproject_is_fetched_without_running_its_code(
    registry: Path, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    path = sdist(registry, "ourtext", "1.0", {"setup.py": CANARY.format(canary=str(canary)).encode()})
    assert packages.fetch(pin(path)).is_file()
    assert not canary.exists()


def test_a_wheel_for_another_machine_is_fetched_on_every_machine(registry: Path) -> None:
    path = wheel(
        registry,
        "ourtext",
        "1.0",
        {"a.txt": b"text"},
        FOREIGN.replace("cp311", "cp39").replace("x86", "s390"),
    )
    path = path.rename(path.with_name(path.name.replace("s390_64", "s390x")))
    assert packages.fetch(pin(path)).name == path.name


def test_the_options_follow_the_file_name() -> None:
    assert packages.pip_arguments("a-1-py3-none-any.whl") == ["--only-binary", ":all:"]
    arguments = packages.pip_arguments(f"a-1-{FOREIGN}.whl")
    assert arguments[2:6] == ["--platform", "manylinux_2_24_x86_64", "--platform", "manylinux_2_28_x86_64"]
    assert arguments[6:] == ["--python-version", "311", "--implementation", "cp", "--abi", "cp311"]
    assert "--no-binary" in packages.pip_arguments("a-1.tar.gz")


def test_a_cached_file_is_used_without_asking_again(registry: Path) -> None:
    path = wheel(registry, "ourtext", "1.0", {"a.txt": b"text"})
    wanted = pin(path)
    first = packages.fetch(wanted)
    path.unlink()
    assert packages.fetch(wanted) == first
    assert first == workspace() / "downloads" / wanted.sha256 / path.name
    assert not list((workspace() / "downloads").glob("*.partial"))


def test_a_damaged_cached_file_is_fetched_again(registry: Path) -> None:
    path = wheel(registry, "ourtext", "1.0", {"a.txt": b"text"})
    cached = packages.fetch(pin(path))
    cached.write_bytes(cached.read_bytes()[:-1] + b"!")
    assert packages.fetch(pin(path)).read_bytes() == path.read_bytes()


def test_a_wrong_hash_is_refused_in_one_line(registry: Path) -> None:
    path = wheel(registry, "ourtext", "1.0", {"a.txt": b"text"})
    with pytest.raises(SourceError, match="does not have the pinned sha256") as caught:
        packages.fetch(pin(path, digest="0" * 64))
    assert str(caught.value).startswith("ourtext==1.0: cannot be fetched")
    assert "\n" not in str(caught.value)
    assert not [path for path in (workspace() / "downloads").rglob("*") if path.suffix == ".whl"]


def test_an_absent_package_is_tried_three_times_and_named(
    registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []
    run = packages._run_pip
    monkeypatch.setattr(packages, "_run_pip", lambda *a, **k: tries.append(1) or run(*a, **k))
    with pytest.raises(SourceError, match=r"ourtext==2\.0: cannot be fetched: .*`pip download`"):
        packages.fetch(Pin("ourtext", "2.0", "ourtext-2.0.tar.gz", "0" * 64))
    assert len(tries) == 3


def test_two_at_once_fetch_once(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = wheel(registry, "ourtext", "1.0", {"a.txt": b"text"})
    runs = []

    def run(source: Pin, partial: Path, own_backend: bool) -> str:
        runs.append(own_backend)
        shutil.copy(path, partial / path.name)
        return ""

    monkeypatch.setattr(packages, "_run_pip", run)
    with ThreadPoolExecutor(4) as pool:
        paths = set(pool.map(packages.fetch, [pin(path)] * 4))
    assert len(paths) == 1
    assert len(runs) == 1


def test_every_distinct_file_is_fetched_once(registry: Path) -> None:
    one = pin(wheel(registry, "ourtext", "1.0", {"a.txt": b"text"}))
    two = pin(sdist(registry, "othertext", "1.0", {"a.txt": b"text"}), package="othertext")
    found = packages.fetch_all([one, two, one])
    assert {path.name for path in found.values()} == {one.filename, two.filename}


def test_a_missing_pip_is_said_with_its_remedy(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    with pytest.raises(SourceError, match="no pip; run python -m ensurepip"):
        packages.fetch(Pin("ourtext", "1.0", "ourtext-1.0.tar.gz", "0" * 64))


def test_a_pip_that_hangs_is_ended(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*args: object, **kwargs: object) -> None:
        raise subprocess.TimeoutExpired("pip", 900)

    monkeypatch.setattr(packages.subprocess, "run", hang)
    with pytest.raises(SourceError, match="did not finish within 900 seconds"):
        packages.fetch(Pin("ourtext", "1.0", "ourtext-1.0.tar.gz", "0" * 64))


def test_no_credential_of_an_address_is_shown() -> None:
    shown = packages.explain(
        "WARNING: Retrying\nERROR: Could not reach https://me:hunter2@packages.example/x?token=s3cret (401)\n"
    )
    assert "hunter2" not in shown
    assert "s3cret" not in shown
    assert "packages.example" in shown


@pytest.mark.network
def test_the_demo_files_are_what_the_catalogue_says(monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.sources.catalogue import DEMO_LABELLED, DEMO_SOURCES

    smallest = [DEMO_SOURCES[1], DEMO_LABELLED.translation[-1]]
    assert len(packages.fetch_all(smallest)) == 2
