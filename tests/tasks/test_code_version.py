"""The version of a stage's code: what changes a result changes it, what does not does not."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from tasks import code_version, stages

Write = Callable[[str, str], None]


def forget() -> None:
    for function in (code_version._closure, code_version._imports, code_version._digest):
        function.cache_clear()


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write a module of a made-up project; what was known about its modules is forgotten."""
    monkeypatch.setattr(code_version, "ROOT", tmp_path)
    forget()

    def to(module: str, text: str) -> None:
        path = tmp_path / module
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        forget()

    yield to
    forget()


def closure() -> set[str]:
    return set(code_version.modules("tasks.core"))


@pytest.mark.parametrize(
    "statement",
    [
        "import tasks.other",
        "import tasks.other as o",
        "from tasks import other",
        "from tasks import other as o",
        "from tasks.other import thing",
        "from tasks.other import *",
        "from . import other",
        "from .other import thing",
        "def f():\n    from tasks import other",
        "class A:\n    def f(self):\n        async def g():\n            from .other import thing",
        "try:\n    import tasks.other\nexcept ImportError:\n    pass",
        "if not TYPE_CHECKING:\n    from tasks import other",
        "if TYPE_CHECKING:\n    pass\nelse:\n    from tasks import other",
        "COMMAND = ['-m', 'tasks.other']",
        "CORE = 'tasks.other:thing'",
        "FILE = Path(__file__).with_name('other.py')",
    ],
)
def test_every_way_of_importing_is_found(write: Write, statement: str) -> None:
    write("tasks/other.py", "thing = 1\n")
    write("tasks/core.py", statement + "\n")
    assert closure() == {"tasks.core", "tasks.other"}


@pytest.mark.parametrize(
    "statement",
    [
        "if TYPE_CHECKING:\n    from tasks import other",
        "if typing.TYPE_CHECKING:\n    from tasks import other",
        "# from tasks import other",
        "TEXT = 'words about tasks.other here'",
        "import other",
        "TEXT = 'tasks.nothing'",
    ],
)
def test_what_never_runs_is_not(write: Write, statement: str) -> None:
    write("tasks/other.py", "thing = 1\n")
    write("tasks/core.py", statement + "\n")
    assert closure() == {"tasks.core"}


def test_the_closure_is_transitive_crosses_packages_and_ends_in_circles(write: Write) -> None:
    write("tasks/core.py", "from tasks.parts.one import x\nfrom models.net import y\n")
    write("tasks/parts/__init__.py", "from tasks.parts.helper import z\n")
    write("tasks/parts/one.py", "from ..wide import w\nfrom .two import v\n")
    write("tasks/parts/two.py", "import tasks.core\n")
    write("tasks/parts/helper.py", "from expectations import rule\n")
    write("tasks/wide.py", "from tasks import tracking, artifacts\n")
    write("tasks/tracking.py", "from tasks import unrelated\n")
    write("tasks/unrelated.py", "")
    write("models/__init__.py", "")
    write("models/net.py", "")
    write("expectations/__init__.py", "rule = 1\n")
    parts = {"tasks.parts", "tasks.parts.one", "tasks.parts.two", "tasks.parts.helper"}
    assert closure() == {"tasks.core", "tasks.wide", "models", "models.net", "expectations", *parts}


def test_the_package_of_the_core_counts_and_a_core_that_is_missing_is_an_error(write: Write) -> None:
    write("tasks/parts/__init__.py", "x = 1\n")
    write("tasks/parts/core.py", "y = 1\n")
    assert set(code_version.modules("tasks.parts.core")) == {"tasks.parts", "tasks.parts.core"}
    with pytest.raises(FileNotFoundError):
        code_version.modules("tasks.parts.missing")


BASE = '''
"""A module."""

LIMIT = 3


class Thing:
    """A class."""

    def f(self, x: int) -> int:
        """A function."""
        return x + LIMIT
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""A module."""', '"""Another text."""'),
        ('"""A module."""', ""),
        ('        """A function."""\n', '        """It\n\n        has many lines."""\n'),
        ("LIMIT = 3", "LIMIT = 3  # not four"),
        ("LIMIT = 3\n", "LIMIT   =  (3)\n\n\n"),
        ("LIMIT = 3", "LIMIT = 0x3"),
    ],
)
def test_comments_docstrings_and_layout_change_nothing(write: Write, old: str, new: str) -> None:
    write("tasks/core.py", BASE)
    before = code_version.modules("tasks.core")
    assert old in BASE
    write("tasks/core.py", BASE.replace(old, new))
    assert code_version.modules("tasks.core") == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LIMIT = 3", "LIMIT = 4"),
        ("LIMIT = 3", "LIMIT = 3.0"),
        ("LIMIT = 3", "LIMIT = '3'"),
        ("x + LIMIT", "LIMIT + x"),
        ("x + LIMIT", "x - LIMIT"),
        ("x: int)", "x: int = 1)"),
        ("return x", "x += 1\n        return x"),
    ],
)
def test_every_change_of_logic_counts(write: Write, old: str, new: str) -> None:
    write("tasks/core.py", BASE)
    before = code_version.modules("tasks.core")
    assert old in BASE
    write("tasks/core.py", BASE.replace(old, new))
    assert code_version.modules("tasks.core") != before


def test_a_syntax_error_elsewhere_does_not_matter_and_in_the_closure_does(write: Write) -> None:
    write("tasks/core.py", "x = 1\n")
    write("tasks/broken.py", "def (:\n")
    assert closure() == {"tasks.core"}
    write("tasks/core.py", "from tasks import broken\n")
    with pytest.raises(SyntaxError):
        closure()


def test_libraries_are_found_by_the_name_they_are_installed_under(write: Write) -> None:
    write(
        "tasks/core.py", "import json\nfrom tasks.other import x\ndef f():\n    import sklearn.metrics as m\n"
    )
    write(
        "tasks/other.py",
        "import yaml\nimport tqdm\nimport pydantic\ntry:\n    import not_there\nexcept ImportError: pass\n",
    )
    found = code_version.libraries("tasks.core")
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert found == {"PyYAML": version("PyYAML"), "scikit-learn": version("scikit-learn"), "python": python}


def test_another_version_of_a_library_counts(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write("tasks/core.py", "import yaml\n")
    monkeypatch.setattr(code_version, "version", lambda name: "0.0.1")
    assert code_version.libraries("tasks.core")["PyYAML"] == "0.0.1"


def test_digests_are_the_same_in_every_process(root: Path) -> None:
    code = (
        "import json; from tasks import code_version as c; print(json.dumps(c.modules('tasks.tokenization')))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=root,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(root), "PATH": "/usr/bin"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    }
    assert len(outputs) == 1


def test_the_real_stages_have_a_version_soon() -> None:
    existing = [stage.core.partition(":")[0] for stage in stages.ALL]
    existing = [core for core in existing if code_version._path(core).is_file()]
    code_version._distributions()
    forget()
    started = time.process_time()
    for core in existing:
        assert core in code_version.modules(core)
        assert code_version.libraries(core)
    assert time.process_time() - started < 0.5 * len(existing)
