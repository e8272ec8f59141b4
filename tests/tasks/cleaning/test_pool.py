"""Hostile documents must hurt themselves alone. The children are real; some have a trap for one text."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.cleaning import pool as pool_module
from tasks.cleaning.config import ExtractionConfig
from tasks.cleaning.pool import Failure, Pool, Prepared
from tasks.errors import UnveilError

TRAP = """
import os, signal, sys, time
from tasks.cleaning import worker
original, extract = worker.prepare, worker.extract
worker.extract = lambda text, form: "x" * (1 << 40) if text == "greedy" else extract(text, form)
def prepare(text, form, kinds):
    if text == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if text == "killed" and not os.path.exists(os.environ["HOME"] + "/killed"):
        open(os.environ["HOME"] + "/killed", "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    if text == "always killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if text == "loop":
        while True: pass
    if text == "sleep":
        time.sleep(60)
    if text == "noisy":
        print("this must not get between the frames", flush=True)
    if text == "broken":
        raise ImportError("No module named 'lxml_html_clean'")
    return original(text, form, kinds)
worker.prepare = prepare
worker.main()
"""


def texts(*contents: str, form: str = "text") -> list[dict[str, Any]]:
    return [{"text": text, "format": form} for text in contents]


@pytest.fixture
def trapped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Children in which certain texts do harm."""

    def popen(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        options["env"] |= {"HOME": str(tmp_path)}
        return subprocess.Popen([sys.executable, "-c", TRAP, *command[3:]], **options)

    # The pool starts children from several threads at once: its own view is replaced, not the module all share.
    seen = {name: getattr(subprocess, name) for name in subprocess.__all__}
    monkeypatch.setattr(pool_module, "subprocess", SimpleNamespace(**seen | {"Popen": popen}))


def outcomes(
    config: ExtractionConfig, documents: list[dict[str, Any]], workers: int = 1
) -> list[Prepared | Failure]:
    with Pool(config, workers=workers) as pool:
        return [outcome for _, outcome in pool.prepare(documents)]


def test_results_come_in_the_order_of_the_input_for_any_number_of_workers() -> None:
    documents = texts(*(f"document number {i}, " * (1 + i % 7 * 50) for i in range(60)))
    found = [outcomes(ExtractionConfig(), documents, workers) for workers in (1, 2)]
    assert found[0] == found[1]
    assert [outcome.text.split(",")[0] for outcome in found[0]] == [f"document number {i}" for i in range(60)]


@pytest.mark.usefixtures("trapped")
@pytest.mark.parametrize(
    ("text", "kind", "reason"),
    [
        ("crash", "crashed", "signal 11"),
        ("loop", "timeout", "more than 1 processor seconds"),
        ("greedy", "out-of-memory", "memory_mb"),
    ],
)
def test_one_document_fails_and_the_others_go_on(text: str, kind: str, reason: str) -> None:
    found = outcomes(ExtractionConfig(timeout=1.0), texts("a", "b", text, "c", "d"), workers=2)
    assert [type(outcome) for outcome in found] == [Prepared, Prepared, Failure, Prepared, Prepared]
    assert found[2].kind == kind and reason in found[2].reason


@pytest.mark.usefixtures("trapped")
def test_a_document_that_waits_is_stopped_too() -> None:
    found = outcomes(ExtractionConfig(timeout=0.2), texts("sleep", "a"))
    assert found[0].kind == "timeout" and isinstance(found[1], Prepared)


@pytest.mark.usefixtures("trapped")
def test_a_child_killed_from_outside_gets_a_second_try() -> None:
    assert [outcome.text for outcome in outcomes(ExtractionConfig(), texts("killed", "a"))] == ["killed", "a"]


@pytest.mark.usefixtures("trapped")
def test_what_a_library_prints_does_not_disturb() -> None:
    assert [outcome.text for outcome in outcomes(ExtractionConfig(), texts("noisy", "a"))] == ["noisy", "a"]


@pytest.mark.usefixtures("trapped")
def test_a_broken_installation_is_not_blamed_on_a_document() -> None:
    with pytest.raises(UnveilError, match=r"lxml_html_clean.*make setup"):
        outcomes(ExtractionConfig(), texts("a", "broken"))


HOSTILE: dict[str, Callable[[], str]] = {
    "nested divs": lambda: "<html><body>" + "<div>" * 100_000 + "x",
    "unclosed definitions": lambda: "<html><body>" + "<dl><dd>" * 200_000,
    "siblings": lambda: "<html><body>" + "<p>word" * 1_000_000,
    "one attribute": lambda: f'<html><body><p title="{"x" * 20_000_000}">text',
    "entities": lambda: "<html><body><p>" + "&amp;" * 2_000_000,
    "colspan": lambda: '<html><body><table><tr><td colspan="9007199254740991">x</table>',
    "entity expansion": lambda: (
        '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><html><body>&b;</body></html>'
    ),
    "controls": lambda: "<html><body><p>\x00\ufffd\x1b[31m text",
    "empty": lambda: "",
}


def test_hostile_pages_end_in_time_and_harm_no_other() -> None:
    started = time.monotonic()
    pages = texts(
        *(make() for make in HOSTILE.values()),
        "<p>A last page that is fine, with enough words.</p>",
        form="html",
    )
    found = outcomes(ExtractionConfig(timeout=1.0), pages, workers=2)
    assert len(found) == len(pages)
    assert isinstance(found[-1], Prepared) and "last page" in found[-1].text
    assert {outcome.kind for outcome in found if isinstance(outcome, Failure)} <= {
        "timeout",
        "out-of-memory",
        "unreadable",
        "crashed",
    }
    assert any(isinstance(outcome, Failure) and outcome.kind == "timeout" for outcome in found)
    assert time.monotonic() - started < 60


def test_a_child_that_is_killed_twice_ends_the_stage_with_what_to_do(trapped: None) -> None:
    """Matrix row 34, as the kernel does it: no document may be left out because memory was short."""
    with (
        Pool(ExtractionConfig(), workers=1) as pool,
        pytest.raises(UnveilError, match=r"worker killed \(signal 9\), likely out of memory; try"),
    ):
        list(pool.prepare(texts("fine", "always killed", "fine too")))


def test_children_end_with_the_pool() -> None:
    with Pool(ExtractionConfig(), workers=1) as pool:
        list(pool.prepare(texts("a")))
        process = pool._children[0]._process
        assert process and process.poll() is None
    assert process.poll() == -signal.SIGKILL


def test_children_get_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "canary-5c1f")
    with Pool(ExtractionConfig(), workers=1) as pool:
        list(pool.prepare(texts("a")))
        process = pool._children[0]._process
        assert process
        assert b"canary-5c1f" not in Path(f"/proc/{process.pid}/environ").read_bytes()
    assert os.environ["SOME_TOKEN"] == "canary-5c1f"
