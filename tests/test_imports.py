"""Who may import whom. Imports go one way, flows -> tasks -> models; heavy libraries wait for their use."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tasks.environment import workspace

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("flows", "tasks", "models")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
HEAVY = {
    "babel",
    "captum",
    "datasets",
    "datasketch",
    "ftfy",
    "gensim",
    "great_expectations",
    "matplotlib",
    "mlflow",
    "mwparserfromhell",
    "numpy",
    "pandas",
    "py3langid",
    "pyarrow",
    "pytorch_lightning",
    "sacrebleu",
    "safetensors",
    "sklearn",
    "tokenizers",
    "torch",
    "trafilatura",
    "transformers",
}
# What tasks/ may import at the top although it is heavy: the format that all stages exchange.
EVERYWHERE_IN_TASKS = {"numpy", "pyarrow"}
# MLflow runs this file itself, copied into a registered model: it has to declare there what is served.
SERVED = "tasks/serving/service.py"


def imported(nodes: list[ast.AST]) -> set[str]:
    """Full names of what the nodes import; relative imports stay inside their package."""
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(str(node.module))
    return found


def everywhere(path: Path) -> set[str]:
    return imported(list(ast.walk(ast.parse(path.read_text(encoding="utf-8")))))


def when_loaded(path: Path) -> set[str]:
    """What importing the module imports: nothing in functions, nothing under ``TYPE_CHECKING``."""
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    found = []
    while waiting:
        node = waiting.pop()
        found.append(node)
        typing_only = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        if not typing_only and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)
    return imported(found)


def tops(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_the_reader_of_imports_reads(tmp_path: Path) -> None:
    path = tmp_path / "m.py"
    path.write_text(
        "import a.b\nfrom c import d\nif TYPE_CHECKING:\n    import e\ntry:\n    import f\nexcept E: pass\n"
        "class K:\n    import g\n    def m(self):\n        import h\ndef fn():\n    from i.j import k\n"
    )
    assert tops(when_loaded(path)) == {"a", "c", "f", "g"}
    assert tops(everywhere(path)) == {"a", "c", "e", "f", "g", "h", "i"}
    assert len(MODULES) > 40


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_imports_go_one_way(path: Path) -> None:
    used = tops(everywhere(path))
    package = path.relative_to(ROOT).parts[0]
    if package == "models":
        assert not used & {"flows", "tasks", "prefect", "mlflow", "great_expectations"}
    if package == "tasks":
        assert "flows" not in used
    assert not used & {"tests", "benchmarks"}
    if relative(path) not in ("tasks/tracking.py", SERVED):
        assert "mlflow" not in used
    if package != "flows" and relative(path) != "tasks/orchestration.py":
        assert "prefect" not in used


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_heavy_libraries_are_imported_where_they_are_used(path: Path) -> None:
    used = tops(when_loaded(path)) & HEAVY
    package = path.relative_to(ROOT).parts[0]
    if package == "flows":
        assert used == set()
    if package == "tasks":
        assert used <= EVERYWHERE_IN_TASKS | ({"mlflow"} if relative(path) == SERVED else set())


def test_what_is_served_stands_alone() -> None:
    """A registered model carries this file and ``models/``, and nothing else of the project."""
    assert not tops(everywhere(ROOT / SERVED)) & {"tasks", "flows", "expectations", "prefect"}


def test_no_module_bears_the_name_of_a_library() -> None:
    """A path entrypoint puts its folder first on the path: ``flows/tokenizers.py`` would hide the library."""
    taken = set(sys.stdlib_module_names) | set(packages_distributions())
    taken -= {*PACKAGES, "expectations", "tests", "benchmarks", "docs"}
    clashes = [relative(path) for path in MODULES if path.parent.name in PACKAGES and path.stem in taken]
    clashes += [
        relative(path)
        for package in PACKAGES
        for path in (ROOT / package).iterdir()
        if path.is_dir() and path.name in taken and path.name != "__pycache__"
    ]
    assert clashes == []


def test_top_level_packages_hide_nothing() -> None:
    assert not {*PACKAGES, "expectations"} & set(sys.stdlib_module_names)


@pytest.mark.parametrize(
    "module", ["flows.cli", "flows.presets", "flows.settings", "tasks.stages", "tasks.runs"]
)
def test_importing_the_command_line_stays_light(module: str) -> None:
    """Every ``--help`` pays for what this imports."""
    code = f"import sys, {module}; print(sorted({HEAVY | {'prefect'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert set(ast.literal_eval(done.stdout)) <= EVERYWHERE_IN_TASKS


@pytest.mark.parametrize("path", [path for path in MODULES if path.parent.name == "models"], ids=relative)
def test_models_can_be_used_alone(path: Path) -> None:
    """No module of theirs reaches for the workspace or the environment that the tasks prepare."""
    assert "UNVEIL_HOME" not in path.read_text(encoding="utf-8")


def test_the_tests_run_in_a_workspace_of_their_own() -> None:
    assert "unveil-tests-" in str(workspace())
