"""Failpoints: they strike where they are told to, cannot be armed by mistake, and cost nothing when they are not."""

from __future__ import annotations

import ast
import errno
import logging
import signal
import subprocess
import sys
import timeit
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks import durable, failpoints, runs
from tasks.errors import ConfigError, UnveilError
from tests.tasks import toy


@pytest.fixture(autouse=True)
def _nothing_stays_armed() -> Iterator[None]:
    yield
    failpoints.arm(None)


@pytest.mark.parametrize(
    ("specification", "told"),
    [
        ("cleaning", "is not STAGE:POINT"),
        ("cleaning:before-rename", "is not STAGE:POINT"),
        ("cleaning:before-rename=explode", "is not STAGE:POINT"),
        ("cleaning:before-rename@0=kill", "is not STAGE:POINT"),
        ("cleaning:before-rename@1=kill=kill", "is not STAGE:POINT"),
        ("washing:before-rename=kill", "'washing'.*ingestion, cleaning"),
        ("cleaning:before-lunch=kill", "'before-lunch'.*before-rename"),
        ("cleaning:open=errno:ENOSUCH", "'ENOSUCH'"),
        ("cleaning:open=errno:errorcode", "'errorcode'"),
        ("cleaning:open=signal:SIGNOT", "'SIGNOT'"),
        (" ", "is not STAGE:POINT"),
    ],
)
def test_what_is_not_known_is_refused_and_arms_nothing(specification: str, told: str, tmp_path: Path) -> None:
    failpoints.arm("*:*=errno:EIO")
    with pytest.raises(ConfigError, match=told) as caught:
        failpoints.arm(specification)
    assert "UNVEIL_FAILPOINT" in str(caught.value) and "unset it" in str(caught.value)
    durable.write(tmp_path / "file", "text")


def test_a_run_refuses_it_before_anything_is_written_and_warns_of_what_is_armed(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(failpoints.VARIABLE, "cleaning:nowhere=kill")
    with pytest.raises(ConfigError), runs.running("flow", {}):
        pass
    assert not list(workspace.iterdir())
    with caplog.at_level(logging.WARNING):
        failpoints.arm("cleaning:open=kill")
    assert "failpoint cleaning:open=kill is armed" in caplog.text and "unset UNVEIL_FAILPOINT" in caplog.text


def test_importing_arms_nothing(tmp_path: Path, root: Path) -> None:
    """Only a run reads the variable: a library that writes by way of ours is not struck."""
    program = (
        "import sys; from pathlib import Path; from tasks.durable import write; write(Path(sys.argv[1]), 'x')"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "file")]
    environment = {"PYTHONPATH": str(root), failpoints.VARIABLE: "*:*=kill", "HOME": str(tmp_path)}
    subprocess.run(command, env=environment, cwd=tmp_path, check=True)
    assert (tmp_path / "file").read_text() == "x"


@pytest.mark.parametrize(("point", "left"), [("open", None), ("mid-write", b"so"), ("close", b"some")])
def test_each_point_of_a_file_is_where_its_name_says(point: str, left: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "file"
    failpoints.arm(f"*:{point}=errno:EDQUOT")
    with pytest.raises(OSError, match="file") as caught:
        durable.write(path, "some")
    assert caught.value.errno == errno.EDQUOT
    assert (path.read_bytes() if path.exists() else None) == left


def test_it_strikes_at_the_kth_time_once_or_from_then_on(tmp_path: Path) -> None:
    failpoints.arm("*:open@2=errno:EIO")
    outcomes = [_writes(tmp_path / str(n)) for n in range(4)]
    assert (outcomes, failpoints.reached()) == ([True, False, True, True], 4)
    failpoints.arm("*:open@2+=errno:EIO")
    assert [_writes(tmp_path / str(n)) for n in range(4)] == [True, False, False, False]


def _writes(path: Path) -> bool:
    try:
        durable.write(path, "text")
    except OSError:
        return False
    return True


def test_it_strikes_the_stage_that_it_names_alone(tmp_path: Path) -> None:
    run = toy.untracked_run(tmp_path)
    failpoints.arm("cleaning:before-manifest=errno:ENOSPC")
    toy.stage(name="ingestion").ensure(run, toy.ToyConfig(), {})
    with pytest.raises(
        UnveilError, match=r"^cleaning: .*No space left.* needs more than [\d,]+ bytes and [\d,]+ are free"
    ):
        toy.stage(name="cleaning").ensure(run, toy.ToyConfig(), {})
    assert [path.name for path in (tmp_path / "artifacts" / "cleaning").iterdir() if path.is_dir()] == []


def test_a_signal_is_sent_to_the_process_itself(tmp_path: Path) -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _frame: heard.append(number))
    try:
        failpoints.arm("*:close=signal:SIGUSR1")
        durable.write(tmp_path / "file", "text")
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert heard == [signal.SIGUSR1]


def test_off_a_point_is_one_look_at_a_name(root: Path) -> None:
    """The body is a single test for None, and a call takes about what calling anything takes."""
    tree = ast.parse((root / "tasks" / "failpoints.py").read_text(encoding="utf-8"))
    hit = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "hit")
    assert [ast.unparse(node) for node in hit.body[1:]] == [
        "if _armed is not None:\n    _armed.reach(point, path)"
    ]

    def nothing(point: str, path: Path | None = None) -> None:
        if point is None:
            raise AssertionError

    off = min(timeit.repeat(lambda: failpoints.hit("open"), number=20_000, repeat=9))
    call = min(timeit.repeat(lambda: nothing("open"), number=20_000, repeat=9))
    assert off < 3 * call
