"""The command line: exit codes, one-line errors, and what it writes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from flows import cli
from tasks import stages
from tests.tasks.evaluation import tiny_inputs


@pytest.fixture
def fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command that must fail; returns its exit code and its one line."""
    monkeypatch.setenv("UNVEIL_HOME", str(tmp_path / "workspace"))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str]:
        code = cli.main(arguments)
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1, captured.err
        return code, captured.err.strip()

    return run


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--config", "none.yaml"], "none.yaml: no such file"),
        (["--preset", "tiny"], "unknown preset 'tiny'"),
        (["--preset", "smoke", "--until", "lunch"], "unknown stage 'lunch'"),
        (["--preset", "smoke", "--set", "cleaning.max_bad_ration=1"], "did you mean 'max_bad_ratio'?"),
        (["--preset", "smoke", "--set", "pretraining.training.steps=0"], "pretraining.training.steps"),
        (["--preset", "smoke", "--set", "nonsense"], "is not key.path=value"),
    ],
)
@pytest.mark.parametrize("command", ["run", "status"])
def test_a_bad_configuration_is_one_line_and_exit_code_2(
    command: str, arguments: list[str], expected: str, fail: Any, tmp_path: Path
) -> None:
    code, line = fail(command, *arguments)
    assert code == 2
    assert expected in line
    assert not (tmp_path / "workspace" / "runs").exists()


def test_generating_without_a_model_says_what_to_do(fail: Any) -> None:
    code, line = fail("generate", "x")
    assert code == 2
    assert "unveil run" in line


@pytest.mark.parametrize(
    ("option", "value"), [("--temperature", "-1"), ("--top-p", "0"), ("--max-new-tokens", "0")]
)
def test_an_impossible_way_of_writing_is_named(option: str, value: str, fail: Any) -> None:
    code, line = fail("generate", "x", option, value)
    assert code == 2
    assert option in line


def test_unknown_commands_and_options_are_usage_errors(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["fly"], ["run", "--fast"], []):
        with pytest.raises(SystemExit) as caught:
            cli.main(arguments)
        assert caught.value.code == 2
    assert "usage: unveil" in capsys.readouterr().err


@pytest.mark.slow
def test_status_is_machine_readable(smoke: Any) -> None:
    done = smoke("status", "--preset", "smoke", "--json")
    assert done.returncode == 0, done.stderr
    status = json.loads(done.stdout)
    assert list(status["stages"]) == list(stages.NAMES)
    assert all(entry["fresh"] for entry in status["stages"].values())


@pytest.mark.slow
def test_generate_shows_its_steps_and_repeats_itself(smoke: Any) -> None:
    first, second = (
        smoke("generate", "The harbour", "--max-new-tokens", "5", "--show-steps") for _ in range(2)
    )
    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout
    lines = first.stdout.splitlines()
    assert lines[0].startswith("input")
    assert sum(line.startswith("step ") for line in lines) == 5
    assert sum("prediction" in line for line in lines) == 5
    assert lines[-1].startswith("output") or "output" in first.stdout


@pytest.mark.slow
def test_a_prompt_with_control_characters_cannot_steer_the_terminal(smoke: Any) -> None:
    done = smoke("generate", "\x1b[31mred\x07 <|endoftext|>", "--max-new-tokens", "3")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout and "\x07" not in done.stdout


def test_the_tokens_shown_are_those_that_the_model_reads(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tiny_inputs.inputs(workspace)["pretraining"].path
    options = ("--model", str(folder), "--show-steps", "--max-new-tokens", "1")
    assert cli.main(["generate", "<|endoftext|>", *options]) == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    (shown,) = re.findall(r"input +(\d+) tokens", first)
    (read,) = re.findall(r"analysis of (\d+) tokens", second)
    assert int(shown) + 1 == int(read) > 4, "the separator in front, and what was typed, letter by letter"


@pytest.mark.slow
def test_a_source_that_is_missing_stops_the_run_in_one_line(smoke: Any, tmp_path: Path) -> None:
    config = tmp_path / "my.yaml"
    config.write_text("extends: smoke\nsources: [{type: files, path: no/*.txt, domain: books, licence: x}]\n")
    done = smoke("run", "--config", str(config))
    assert done.returncode == 1
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("unveil: ingestion: ")
    assert "no/*.txt" in line
    assert "Traceback" not in done.stderr
    assert smoke.ledger()["status"] == "failed"


def test_status_downloads_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("UNVEIL_HOME", str(tmp_path / "workspace"))
    config = tmp_path / "my.yaml"
    source = "{type: http, url: 'http://127.0.0.1:9/a.txt', allow_private: true, domain: books, licence: x}"
    config.write_text(f"extends: smoke\nsources: [{source}]\n")
    assert cli.main(["status", "--config", str(config)]) == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.split(maxsplit=2) == [
        "ingestion",
        "rebuild",
        "never built; http://127.0.0.1:9/a.txt would be downloaded, and cannot be told without",
    ]
    assert second.split() == ["cleaning", "rebuild", "input", "ingestion", "would", "rebuild"]
    assert not [
        name for name in ("downloads", "artifacts", "runs") if (tmp_path / "workspace" / name).exists()
    ]


def test_status_says_what_is_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    from flows.console import show_status
    from tasks.runs import Inspection

    found = [Inspection("ingestion", None, "it would be\nfetched", None)]
    show_status(found, "smoke", {}, as_json=False)
    assert capsys.readouterr().out.split() == ["ingestion", "unknown", "it", "would", "be\\u000afetched"]
    show_status(found, "smoke", {}, as_json=True)
    assert json.loads(capsys.readouterr().out)["stages"]["ingestion"]["fresh"] is None
