"""The README's commands, each executed or checked against what it names."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flows import presets
from flows.settings import read, resolve
from tests.tasks.serving.test_service import free_port, wait_for

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


# The README speaks of the demo, which is the default; here they run with the preset of the workspace at hand.
RETRAIN = 'unveil retrain --why "the monthly review asked for it"'
NAMING_NO_PRESET = {"unveil status", RETRAIN}


def _program(command: str) -> str:
    return next(word for word in command.split() if "=" not in word)


def _of(program: str) -> list[str]:
    return [command for command in COMMANDS if _program(command) == program]


def test_every_command_is_of_a_kind_that_is_tested() -> None:
    assert {_program(command) for command in COMMANDS} == {"make", "unveil", "prefect", "mlflow", "curl"}
    assert set(_of("prefect")) == DEPLOYMENT
    assert set(_of("unveil")) >= NAMING_NO_PRESET


@pytest.mark.parametrize("command", _of("make"))
def test_make_targets_exist(command: str) -> None:
    done = subprocess.run(["make", "--dry-run", *shlex.split(command)[1:]], cwd=ROOT, capture_output=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("command", _of("unveil"))
def test_unveil_commands_succeed(command: str, lived_in: Any, own_text: Path) -> None:
    chosen = ("--preset", "smoke") if command in NAMING_NO_PRESET else ()
    done = lived_in(*shlex.split(command)[1:], *chosen, cwd=own_text)
    # A retraining ends with its verdict; on the smoke preset's few rows a gate may well be unsure.
    assert done.returncode in ({0, 3, 4} if command == RETRAIN else {0}), done.stderr
    assert "promotion" in done.stdout if command == RETRAIN else done.stdout


@pytest.mark.slow
def test_the_served_model_answers_the_request(served: str) -> None:
    (command,) = _of("curl")
    words = shlex.split(command)
    body, header = words[words.index("-d") + 1], words[words.index("-H") + 1]
    address = re.sub(r"^http://127.0.0.1:\d+", served, words[1])
    request = urllib.request.Request(address, body.encode(), dict([header.split(": ")]))
    with urllib.request.urlopen(request, timeout=60) as answer:
        (prediction,) = json.load(answer)["predictions"]
    assert prediction["label"] in ("negative", "positive")


@pytest.fixture
def lived_in(smoke: Any, tmp_path: Path) -> Any:
    """A copy of the smoke workspace, to be changed."""
    home = tmp_path / "copy" / "workspace"
    shutil.copytree(smoke.home, home, symlinks=True)
    return replace(smoke, home=home)


@pytest.fixture
def served(smoke: Any, tmp_path: Path) -> Iterator[str]:
    """The address at which the README's command serves the champion of the smoke workspace."""
    (command,) = _of("mlflow")
    assert "models:/unveil-demo@champion" in command
    words = shlex.split(command.replace("unveil-demo", "unveil-smoke"))
    settings = dict(word.split("=", 1) for word in words[: words.index("mlflow")])
    port = free_port()
    arguments = [*words[words.index("mlflow") + 1 : -1], str(port)]
    (tmp_path / ".unveil").symlink_to(smoke.home)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    log = tmp_path / "serve.log"
    with log.open("w") as out:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *arguments],
            env=smoke.environment() | settings | {"PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true"},
            cwd=tmp_path,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/ping", server, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=60)


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
    opinions = ("I loved it, a wonderful {}", "I hated it, an awful {}")
    reviews = [f'"{opinions[n % 2].format(words[n % 10])} on day {n}",{5 - 4 * (n % 2)}' for n in range(120)]
    (tmp_path / "reviews.csv").write_text("\n".join(["review,stars", *reviews]), encoding="utf-8")
    document = re.search(r"## Your own data.*?```yaml\n(.*?)```", README, re.DOTALL)
    assert document
    (tmp_path / "my.yaml").write_text(document[1], encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("example", re.findall(r"```yaml\n(.*?)```", README, re.DOTALL))
def test_every_yaml_example_is_a_valid_configuration(example: str, tmp_path: Path) -> None:
    (tmp_path / "example.yaml").write_text(example, encoding="utf-8")
    assert resolve(presets.smoke(), read(tmp_path / "example.yaml")) != presets.smoke()


def test_the_yaml_example_is_a_valid_configuration(own_text: Path) -> None:
    config = resolve(presets.smoke(), read(own_text / "my.yaml"))
    assert [source.type for source in config.ingestion.sources] == ["files", "files"]
    assert config.ingestion.labelled.sentiment


def test_the_presets_are_those_of_the_table() -> None:
    table = re.findall(r"^\| (\w+) \|.*\| (?:under|about|hours)", README, re.MULTILINE)
    assert tuple(table) == presets.NAMES
