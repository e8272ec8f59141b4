"""The README's commands, each executed or checked against what it names."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from flows import presets
from flows.settings import read, resolve

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.strip()
]
# Executed by tests/flows/test_deployment.py, on a server of its own.
DEPLOYMENT = {
    "prefect work-pool create --type process unveil",
    "prefect --no-prompt deploy --all",
    "prefect worker start --pool unveil",
}


def _of(program: str) -> list[str]:
    return [command for command in COMMANDS if command.split()[0] == program]


def test_every_command_is_of_a_kind_that_is_tested() -> None:
    assert {command.split()[0] for command in COMMANDS} <= {"make", "unveil", "prefect"}
    assert set(_of("prefect")) == DEPLOYMENT


@pytest.mark.parametrize("command", _of("make"))
def test_make_targets_exist(command: str) -> None:
    done = subprocess.run(["make", "--dry-run", *shlex.split(command)[1:]], cwd=ROOT, capture_output=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("command", _of("unveil"))
def test_unveil_commands_succeed(command: str, smoke: Any, own_text: Path) -> None:
    done = smoke(*shlex.split(command)[1:], cwd=own_text)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.fixture
def own_text(tmp_path: Path) -> Path:
    """A folder as the section "Your own text" supposes it, with text of ours."""
    folder = tmp_path / "corpus" / "old"
    folder.mkdir(parents=True)
    words = ("rain", "boats", "letters", "winter", "copper", "gardens", "market", "clocks", "bread", "stones")
    for number in range(60):
        told = [
            f"The {words[(number * 7 + k * k) % 10]} of house {number * 31 + k} were counted."
            for k in range(9)
        ]
        (folder / f"{number}.txt").write_text(" ".join(told), encoding="utf-8")
    posts = (
        f"Day {n}: I walked past the {words[n % 10]} and met {n + 2} friends with {words[n * 3 % 10]}."
        for n in range(60)
    )
    lines = "\n".join(json.dumps({"body": post}) for post in posts)
    (tmp_path / "posts.jsonl").write_text(lines, encoding="utf-8")
    document = re.search(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert document
    (tmp_path / "my.yaml").write_text(document[1], encoding="utf-8")
    return tmp_path


def test_the_yaml_example_is_a_valid_configuration(own_text: Path) -> None:
    config = resolve(presets.smoke(), read(own_text / "my.yaml"))
    assert [source.type for source in config.ingestion.sources] == ["files", "files"]


def test_the_presets_are_those_of_the_table() -> None:
    table = re.findall(r"^\| (\w+) \|.*\| (?:under|about|hours)", README, re.MULTILINE)
    assert tuple(table) == presets.NAMES
