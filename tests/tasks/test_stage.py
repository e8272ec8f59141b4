"""The stage mechanism: computed when something changed, not otherwise; never a stale or damaged result."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks import code_version, contracts_diff, runs, stage, suites, tables
from tasks.artifacts import Artifact
from tasks.contracts_report import ContractResult
from tasks.errors import ConfigError, DataError, UnveilError
from tests.tasks import toy
from tests.tasks.toy import ToyConfig


@pytest.fixture(autouse=True)
def clean_toys() -> Iterator[None]:
    yield
    toy.hook.clear()
    toy.found_checkpoints.clear()
    toy.observed.clear()


def ensure(
    home: Path, config: ToyConfig, core: str = "work", preset: str = "toy", **options: Any
) -> tuple[Any, ...]:
    inputs = options.pop("inputs", {})
    return toy.stage(core, **options).ensure(toy.untracked_run(home, preset), config, inputs)


def test_a_stage_is_computed_once(tmp_path: Path) -> None:
    first, cached, why = ensure(tmp_path, ToyConfig())
    assert (cached, why) == (False, "never built")
    assert ensure(tmp_path, ToyConfig()) == (first, True, "unchanged")
    assert first.summary() == {"files": 5, "nested": {"scale": 1.0, "half": 0.5}, "word": "word"}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"size": 4}, "config.size 3 -> 4"),
        ({"word": "other"}, 'config.word "word" -> "other"'),
        ({"scale": 1.0000001}, "config.scale 1.0 -> 1.0000001"),
        ({"size": 1, "fail": False, "word": "w"}, 'config.size 3 -> 1; config.word "word" -> "w"'),
    ],
)
def test_a_changed_configuration_rebuilds_and_says_which(
    tmp_path: Path, change: dict[str, Any], why: str
) -> None:
    ensure(tmp_path, ToyConfig())
    assert ensure(tmp_path, ToyConfig(**change))[1:] == (False, why)
    assert ensure(tmp_path, ToyConfig())[1:] == (True, "unchanged")


def test_of_many_differences_the_first_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toy, "observed", {f"file-{n:03}": "digest" for n in range(500)})
    ensure(tmp_path, ToyConfig(), observe="tests.tasks.toy:observe")
    monkeypatch.setattr(toy, "observed", {})
    why = ensure(tmp_path, ToyConfig(), observe="tests.tasks.toy:observe")[2]
    assert why.startswith("observed.file-000 is no longer part; ")
    assert why.endswith("; and 494 more differences") and len(why) < 300


def test_a_changed_input_rebuilds_what_follows_and_nothing_before(tmp_path: Path) -> None:
    for word, expected in (("a", "never built"), ("b", "inputs.upstream changed")):
        upstream = ensure(tmp_path, ToyConfig(word=word), name="upstream")[0]
        assert ensure(tmp_path, ToyConfig(), inputs={"upstream": upstream})[1:] == (False, expected)
    assert ensure(tmp_path, ToyConfig(word="a"), name="upstream")[1]
    assert ensure(tmp_path, ToyConfig(), inputs={})[1:] == (False, "inputs.upstream is no longer part")


def test_an_input_that_was_rebuilt_with_the_same_content_rebuilds_nothing(tmp_path: Path) -> None:
    """What counts is content: an upstream change that changes no byte stops there."""
    upstream = ensure(tmp_path, ToyConfig(), name="upstream")[0]
    ensure(tmp_path, ToyConfig(), inputs={"upstream": upstream})
    again = ensure(tmp_path, ToyConfig(scale=2.0), name="upstream")[0]
    assert again.fingerprint != upstream.fingerprint
    assert ensure(tmp_path, ToyConfig(), inputs={"upstream": again})[1]


def test_changed_observations_code_libraries_and_contracts_rebuild(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    observing = {"observe": "tests.tasks.toy:observe"}
    toy.observed["corpus/a.txt"] = "1"
    ensure(tmp_path, ToyConfig(), **observing)
    toy.observed["corpus/a.txt"] = "2"
    assert ensure(tmp_path, ToyConfig(), **observing)[2] == "observed.corpus/a.txt changed"
    toy.observed["corpus/b.txt"] = "3"
    assert ensure(tmp_path, ToyConfig(), **observing)[2] == "observed.corpus/b.txt is new"
    modules, libraries = code_version.modules("tests.tasks.toy"), code_version.libraries("tests.tasks.toy")
    monkeypatch.setattr(code_version, "modules", lambda core: modules | {"tests.tasks.toy": "0" * 16})
    assert ensure(tmp_path, ToyConfig(), **observing)[2] == "code.tests.tasks.toy changed"
    monkeypatch.setattr(code_version, "libraries", lambda core: libraries | {"python": "2.7"})
    assert ensure(tmp_path, ToyConfig(), **observing)[2].startswith('libraries.python "3.')
    assert ensure(tmp_path, ToyConfig(), **observing)[1]


def test_what_only_fetching_would_tell_is_unknown_unless_it_makes_no_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNVEIL_HOME", str(tmp_path))
    reading = toy.stage(name="reads", observe="tests.tasks.toy:observe")

    def inspected(config: ToyConfig) -> list[tuple[str, bool | None, str]]:
        with runs.inspecting("flow", {}, preset="toy") as run:
            read = reading(config)
            follows = toy.stage(name="follows")(config, read=read)
            toy.stage(name="last")(config, follows=follows)
        return [(item.stage, item.fresh, item.why) for item in run.inspections]

    toy.observed["corpus/a.txt"] = ""
    assert inspected(ToyConfig())[0] == ("reads", False, "never built; corpus/a.txt would be fetched")
    ensure(tmp_path, ToyConfig(), name="reads", observe="tests.tasks.toy:observe")
    assert inspected(ToyConfig()) == [
        ("reads", None, "corpus/a.txt would be fetched"),
        ("follows", None, "input read may be rebuilt"),
        ("last", None, "input follows may be rebuilt"),
    ]
    assert inspected(ToyConfig(size=1)) == [
        ("reads", False, "config.size 3 -> 1; corpus/a.txt would be fetched"),
        ("follows", False, "input read would rebuild"),
        ("last", False, "input follows would rebuild"),
    ]


def test_the_key_holds_the_digests_of_the_contracts(monkeypatch: pytest.MonkeyPatch) -> None:
    guarded = toy.stage(contracts={"data.parquet": "clean_documents"})
    key = guarded.key(ToyConfig(), {})
    assert set(key["contracts"]) == {"clean_documents", "expectations"}
    monkeypatch.setattr("tasks.suites.digest", lambda suite: "another")
    assert guarded.key(ToyConfig(), {}) != key
    assert toy.stage().key(ToyConfig(), {})["contracts"] == {}


def test_a_key_is_made_at_once() -> None:
    guarded = toy.stage(contracts={"data.parquet": "clean_documents"})
    guarded.key(ToyConfig(), {})
    started = time.monotonic()
    guarded.key(ToyConfig(), {})
    assert time.monotonic() - started < 0.5


def test_a_damaged_artefact_is_rebuilt_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    artifact = ensure(tmp_path, ToyConfig())[0]
    (artifact.path / "data.bin").write_bytes(b"damaged")
    again, cached, why = ensure(tmp_path, ToyConfig())
    assert (again, cached) == (artifact, False)
    assert why == f"damaged: {artifact.path / 'data.bin'} was altered after it was written"
    assert "data.bin" in caplog.text
    assert ensure(tmp_path, ToyConfig())[1]


def test_an_artefact_that_was_deleted_is_said_to_be_gone(tmp_path: Path) -> None:
    ensure(tmp_path, ToyConfig(word="other"))
    artifact = ensure(tmp_path, ToyConfig())[0]
    for path in sorted(artifact.path.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    artifact.path.rmdir()
    again, cached, why = ensure(tmp_path, ToyConfig())
    assert (again, cached, why) == (artifact, False, "its artefact is gone")


def test_a_failure_leaves_nothing_and_names_the_stage(tmp_path: Path) -> None:
    earlier = ensure(tmp_path, ToyConfig(), name="earlier")[0]
    with pytest.raises(DataError) as caught:
        ensure(tmp_path, ToyConfig(fail=True), inputs={"earlier": earlier})
    assert str(caught.value) == "toy: toy.txt:7: was told to fail; do not tell it to"
    assert [path.name for path in (tmp_path / "artifacts" / "toy").iterdir() if path.suffix != ".lock"] == []
    assert ensure(tmp_path, ToyConfig(), name="earlier")[1]


def test_an_interrupt_leaves_nothing_either(tmp_path: Path) -> None:
    def interrupt(folder: Path) -> None:
        raise KeyboardInterrupt

    toy.hook.append(interrupt)
    with pytest.raises(KeyboardInterrupt):
        ensure(tmp_path, ToyConfig())
    assert not list((tmp_path / "artifacts" / "toy").glob("*partial"))


def test_a_resumable_stage_finds_its_checkpoints_after_a_failure_and_publishes_none(tmp_path: Path) -> None:
    def fail_once(folder: Path) -> None:
        toy.hook.clear()
        raise DataError("fails once")

    toy.hook.append(fail_once)
    with pytest.raises(DataError):
        ensure(tmp_path, ToyConfig(), "resumable")
    artifact = ensure(tmp_path, ToyConfig(), "resumable")[0]
    assert toy.found_checkpoints == ["", "3"]
    assert not (artifact.path / "checkpoints").exists()
    assert artifact.content == ensure(tmp_path / "undisturbed", ToyConfig(), "resumable")[0].content
    assert toy.found_checkpoints == ["", "3", ""]


def test_numbers_that_json_does_not_have_are_kept_in_words(tmp_path: Path) -> None:
    artifact = ensure(tmp_path, ToyConfig(scale=float("nan")))[0]
    assert artifact.summary()["nested"] == {"half": 0.5, "scale": "nan"}
    assert ensure(tmp_path, ToyConfig(scale=float("nan")))[1]
    assert ensure(tmp_path, ToyConfig(scale=float("inf")))[2] == 'config.scale "nan" -> "inf"'


@pytest.mark.parametrize("preset", ["../../escape", "a/b", "", "x" * 20, "*", "sm-all"])
def test_a_name_never_leads_out_of_the_store(tmp_path: Path, preset: str) -> None:
    artifact = ensure(tmp_path / "home", ToyConfig(), preset=preset)[0]
    assert artifact.path.parent == tmp_path / "home" / "artifacts" / "toy"
    assert ensure(tmp_path / "home", ToyConfig(size=2), preset=preset)[2] == "config.size 3 -> 2"


def test_a_stage_outside_a_run_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"toy: was called outside a run; use tasks\.runs\.running"):
        toy.stage()(ToyConfig())


def test_a_workspace_that_cannot_be_written_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system", "/the/workspace")

    run = toy.untracked_run(tmp_path)
    monkeypatch.setattr("tasks.manifests.sync", read_only)
    with pytest.raises(
        UnveilError, match=r"toy: /the/workspace: cannot be written \(Read-only file system\)"
    ):
        toy.stage().ensure(run, ToyConfig(), {})
    assert run.stages["toy"]["artifact"] is None
    assert "Read-only" in run.stages["toy"]["why"]


def test_what_a_stage_records(tmp_path: Path) -> None:
    run = toy.untracked_run(tmp_path)
    artifact = toy.stage().ensure(run, ToyConfig(), {})[0]
    seconds = run.stages["toy"].pop("seconds")
    assert 0 <= seconds < 60
    assert run.stages["toy"] == {
        "artifact": str(artifact.path),
        "fingerprint": artifact.fingerprint,
        "cached": False,
        "why": "never built",
        "mlflow_run_id": "mlflow-toy",
    }


def test_inspecting_computes_and_writes_nothing_and_loads_no_heavy_library(
    root: Path, tmp_path: Path
) -> None:
    """In a process of its own, over fresh, stale, damaged and never built stages."""
    ensure(tmp_path, ToyConfig(), name="fresh", preset="p")
    damaged: Artifact = ensure(tmp_path, ToyConfig(), name="damaged", preset="p")[0]
    (damaged.path / "data.bin").write_bytes(b"")
    ensure(tmp_path, ToyConfig(size=1), name="stale", preset="p")
    code = """
        import sys
        from tasks import runs
        from tests.tasks import toy
        with runs.inspecting("flow", {}, preset="p", until="last") as run:
            fresh = toy.stage(name="fresh")(toy.ToyConfig())
            damaged = toy.stage(name="damaged")(toy.ToyConfig(), fresh=fresh)
            gone = toy.stage(name="damaged")(toy.ToyConfig())
            stale = toy.stage(name="stale")(toy.ToyConfig())
            guarded = toy.stage(name="follows", contracts={"x": "clean_documents"})
            guarded(toy.ToyConfig(), stale=stale, fresh=fresh)
            toy.stage(name="last")(toy.ToyConfig())
            raise AssertionError("went on after the last stage")
        for item in run.inspections:
            print(item.stage, item.fresh, item.why)
        print([name for name in ("prefect", "mlflow", "torch", "great_expectations") if name in sys.modules])
    """
    before = {path: path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("*"))}
    import textwrap

    done = subprocess.run(
        [sys.executable, "-B", "-c", textwrap.dedent(code)],
        cwd=root,
        env={"UNVEIL_HOME": str(tmp_path), "PYTHONPATH": str(root), "PATH": "/usr/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("*"))} == before
    assert done.stdout.splitlines() == [
        "fresh True unchanged",
        "damaged False inputs.fresh is new",
        f"damaged False damaged: {damaged.path / 'data.bin'} was altered after it was written",
        "stale False config.size 1 -> 3",
        "follows False input stale would rebuild",
        "last False never built",
        "[]",
    ]


def test_importing_the_mechanism_loads_no_heavy_library(root: Path) -> None:
    heavy = (
        "prefect",
        "mlflow",
        "torch",
        "great_expectations",
        "pandas",
        "datasets",
        "sklearn",
        "matplotlib",
    )
    code = f"import sys, tasks.stage, tasks.stages; print([n for n in {heavy} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_contracts_are_held_and_their_verdicts_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks import validation
    from tasks.errors import GateError

    calls = []

    rows = iter((7, 9))

    def check(suite: str, path: Path, stage: str) -> ContractResult:
        calls.append((suite, path.name, path.read_bytes()[:4], stage))
        return ContractResult(suite=suite, rows=next(rows), success=True, results=())

    pages: list[str] = []
    monkeypatch.setattr(validation, "check", check)
    monkeypatch.setattr(
        toy.NoTracker, "log_text", lambda self, run_id, text, name: pages.append(text), raising=False
    )
    contracts = {"data.bin": "clean_documents"}
    artifact = ensure(tmp_path, ToyConfig(), contracts=contracts)[0]
    assert calls == [("clean_documents", "data.bin", b"word", "toy")]
    kept = contracts_diff.read(artifact.path)
    assert kept == {
        "clean_documents": ContractResult(suite="clean_documents", rows=7, success=True, results=())
    }
    assert artifact.summary()["contracts"] == {"clean_documents": {"expectations": 0, "rows": 7}}

    def refuse(result: object, stage: str) -> None:
        raise GateError("expectation failed", stage=stage)

    monkeypatch.setattr(validation, "raise_for_failure", refuse)
    with pytest.raises(GateError):
        ensure(tmp_path, ToyConfig(size=1), contracts=contracts)
    assert "Since the artefact before" not in pages[0]
    assert "<td>7</td><td>9</td>" in pages[1], (
        "a verdict that stops the stage is shown too, with what changed"
    )
    published = [
        path.name for path in (tmp_path / "artifacts" / "toy").iterdir() if not path.name.startswith(".")
    ]
    assert published == [artifact.path.name]


def gated(home: Path) -> tuple[str, int]:
    """What a stage says whose table is empty, and how many tables it wrote; nothing may be published."""
    written: list[int] = []

    def write(folder: Path) -> None:
        written.append(tables.write(folder / "t.parquet", [], tables.CLEAN_DOCUMENTS))

    toy.hook.append(write)
    with pytest.raises(UnveilError) as caught:
        ensure(home, ToyConfig(), contracts={"t.parquet": "clean_documents"})
    assert [path.suffix for path in (home / "artifacts" / "toy").iterdir()] == [".lock"]
    return str(caught.value), len(written)


def test_a_table_that_fails_its_contract_goes_no_further(tmp_path: Path) -> None:
    told, written = gated(tmp_path)
    place = "toy: expectations/clean_documents.json: "
    assert told.startswith(f"{place}expect_table_row_count_to_be_between failed") and written == 1


def test_a_corrupt_suite_stops_the_stage_before_its_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = suites.path("clean_documents").read_text()
    monkeypatch.setattr(suites, "FOLDER", tmp_path)
    (tmp_path / "clean_documents.json").write_text(whole[: len(whole) // 2])
    told, written = gated(tmp_path)
    assert told.startswith("toy: expectations/clean_documents.json: is not a readable suite") and written == 0


def test_what_stands_beside_an_artefact_is_shown_when_it_is_new_and_never_part_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages: list[tuple[str, str]] = []
    monkeypatch.setattr(
        toy.NoTracker, "log_text", lambda self, run_id, text, name: pages.append((name, text)), raising=False
    )
    beside = {"beside": "tests.tasks.toy:beside"}
    artifact, cached, _ = ensure(tmp_path, ToyConfig(), **beside)
    assert not cached and pages == [("toys.html", f"<p>{artifact.fingerprint}</p>")]
    assert ensure(tmp_path, ToyConfig(), **beside)[:2] == (artifact, True) and len(pages) == 1
    assert artifact == ensure(tmp_path / "other", ToyConfig())[0].model_copy(update={"path": artifact.path})


def test_the_module_under_test_is_the_projects_own(root: Path) -> None:
    assert Path(str(stage.__file__)).is_relative_to(root)
    assert Path(str(runs.__file__)).is_relative_to(root)
