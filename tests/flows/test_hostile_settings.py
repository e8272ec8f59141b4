"""200 configurations that are wrong, each in one place: one line that names the place, nothing run, nothing written."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from itertools import count, islice
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows import cli, presets
from flows.settings import read, resolve
from tasks.errors import ConfigError

BASE = presets.smoke()
# As YAML writes them: not a number, beyond every number, far below every bound, and of another type.
NO_NUMBERS = (".nan", "1.0e+999", "-1.0e+30", "words", "{a: 1}", "[1, 2]", "!!binary gA==", "2026-01-01")
NO_SCALARS = ("{a: 1}", "[[]]", "!!set {a, b}")
SIZE = 190


def leaves(node: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every scalar of a configuration with its path; lists are left alone."""
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from leaves(value, (*path, str(key)))
        elif isinstance(value, bool | int | float | str):
            yield (*path, str(key)), value


def document(path: tuple[str, ...], text: str) -> str:
    """A YAML file that sets one key to a value as it is written."""
    lines = ["extends: smoke"]
    lines += [f"{'  ' * depth}{key}:" for depth, key in enumerate(path)]
    return "\n".join(lines) + f" {text}\n"


def wrong() -> Iterator[tuple[str, str]]:
    """Files that are wrong in one place, and the key that has to be named; without end, and some come twice."""
    generator = random.Random(11)
    found = sorted(leaves(BASE.model_dump()))
    for number in count():
        path, value = generator.choice(found)
        if number % 5 == 0:
            path = (*path[:-1], path[-1] + generator.choice(["s", "_", "x", "\u0435"]))
            yield document(path, "1"), path[-1]
        elif isinstance(value, bool) or not isinstance(value, int | float):
            yield document(path, generator.choice(NO_SCALARS)), path[-1]
        else:
            yield document(path, generator.choice(NO_NUMBERS)), path[-1]


CASES = list(islice(dict.fromkeys(islice(wrong(), 2 * SIZE)), SIZE))


@pytest.mark.parametrize("number", range(SIZE))
def test_a_wrong_value_is_named_by_its_key_in_one_line(number: int, tmp_path: Path) -> None:
    text, key = CASES[number]
    (tmp_path / "my.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        resolve(BASE, read(tmp_path / "my.yaml"))
    told = str(caught.value)
    assert key in told and "\n" not in told and "Traceback" not in told and len(told) < 1_000, text


def bomb() -> str:
    """A few lines that would grow into ten thousand million words."""
    return "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 34))


STRUCTURES = {
    "code": "extends: !!python/object/apply:os.system ['touch CANARY']",
    "an object": "cleaning: !!python/object:subprocess.Popen {args: touch CANARY}",
    "anchors": bomb(),
    "ten megabytes": "extends: smoke\n#" + "x" * (10 << 20),
    "depth": "a: " + "[" * 5_000 + "]" * 5_000,
    "a list": "- extends: smoke",
    "nothing": "",
    "no text": b"\xff\xfe\x00\xd8".decode("latin-1"),
    "tabs": "extends: smoke\ncleaning:\n\tmax_bad_ratio: 0.1",
    "no end": 'extends: "smoke',
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_what_is_no_configuration_is_refused_by_the_command(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home, canary = tmp_path / "home", tmp_path / "CANARY"
    monkeypatch.setenv("UNVEIL_HOME", str(home))
    monkeypatch.chdir(tmp_path)
    content = STRUCTURES[name].replace("CANARY", str(canary))
    encoding = "latin-1" if name == "no text" else "utf-8"
    (tmp_path / "my.yaml").write_text(content, encoding=encoding)
    assert cli.main(["run", "--config", "my.yaml"]) == 2
    told = capsys.readouterr().err
    assert "my.yaml" in told and "Traceback" not in told and len(told.splitlines()) == 1
    assert not canary.exists() and not list(home.rglob("*"))


def test_there_are_two_hundred() -> None:
    assert len(set(CASES)) + len(STRUCTURES) == 200


def test_the_unharmed_base_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text(yaml.safe_dump({"extends": "smoke"}))
    assert resolve(BASE, read(tmp_path / "my.yaml")) == BASE
