"""The version of a stage's code, read from the source: no number that somebody forgets to raise.

A stage depends on its core module, on every project module that module imports (also inside functions) or
names in a string (to run it in a child process), and on the libraries they use. Each module's digest is taken
over its syntax tree without docstrings, so that a comment rebuilds nothing, while a change of logic rebuilds
the stage and what follows it.
"""

from __future__ import annotations

import ast
import hashlib
import re
import sys
from functools import cache
from importlib.metadata import packages_distributions, version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROJECT_PACKAGES = frozenset({"tasks", "models", "expectations"})
# Modules that carry results about but cannot change their content.
INFRASTRUCTURE = (
    frozenset(
        f"tasks.{name}"
        for name in (
            "artifacts",
            "budget",
            "canonical",
            "code_version",
            "durable",
            "environment",
            "errors",
            "failpoints",
            "ledgers",
            "locks",
            "manifests",
            "metric_stream",
            "naming",
            "orchestration",
            "planning",
            "reasons",
            "runs",
            "shortage",
            "stage",
            "stages",
            "temporary_server",
            "tracking",
        )
    )
    | {"tasks"}
    | frozenset(f"models.{name}" for name in ("accumulation", "budget", "energy", "memory", "meter", "room"))
)
# Libraries that cannot change what a stage writes.
INCIDENTAL_LIBRARIES = frozenset({"pydantic", "tqdm", "psutil"})
_MODULE = re.compile(r"[a-z]+(\.\w+)+(:\w+)?")
_NEIGHBOUR = re.compile(r"\w+\.py")


def modules(core: str) -> dict[str, str]:
    """Digest of the core module and of each project module it reaches, by module name."""
    return {name: _digest(name) for name in sorted(_closure(core))}


def libraries(core: str) -> dict[str, str]:
    """Installed version of each third-party distribution that the core uses, by name, and of Python.

    Python counts because its Unicode tables, which decide what a letter is, change with its minor version.
    """
    imported = {name for module in _closure(core) for name in _imports(module)[1]}
    found = {dist for name in imported for dist in _distributions().get(name, ())}
    versions = {dist: version(dist) for dist in sorted(found) if dist.lower() not in INCIDENTAL_LIBRARIES}
    return versions | {"python": f"{sys.version_info.major}.{sys.version_info.minor}"}


@cache
def _closure(core: str) -> frozenset[str]:
    seen: set[str] = set()
    waiting = [core, *sorted(_existing(core))]
    while waiting:
        name = waiting.pop()
        if name in seen or name in INFRASTRUCTURE:
            continue
        seen.add(name)
        waiting.extend(_imports(name)[0])
    return frozenset(seen)


@cache
def _imports(module: str) -> tuple[frozenset[str], frozenset[str]]:
    """Project modules and top-level names of third-party libraries that a module imports."""
    project: set[str] = set()
    third_party: set[str] = set()
    for node in _walk_runtime(_tree(module)):
        for name in _imported_names(node, module):
            top = name.partition(".")[0]
            if top in PROJECT_PACKAGES:
                project.update(_existing(name))
            elif top not in sys.stdlib_module_names and not isinstance(node, ast.Constant):
                third_party.add(top)
    return frozenset(project), frozenset(third_party)


def _imported_names(node: ast.AST, module: str) -> list[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return _named_in(node.value, module)
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = node.module or ""
    if node.level:
        parent = module.split(".") if _path(module).name == "__init__.py" else module.split(".")[:-1]
        parent = parent[: len(parent) - node.level + 1]
        base = ".".join([*parent, base] if base else parent)
    return [f"{base}.{alias.name}" for alias in node.names]


def _named_in(text: str, module: str) -> list[str]:
    """The module that a string names, as ``tasks.cleaning.worker`` or as the file name of a neighbour."""
    if _NEIGHBOUR.fullmatch(text):
        return [f"{module.rpartition('.')[0]}.{text.removesuffix('.py')}"]
    return [text.partition(":")[0]] if _MODULE.fullmatch(text) else []


def _existing(name: str) -> set[str]:
    """The modules that importing ``name`` loads: it, or the module that has it, and its packages."""
    parts = name.split(".")
    prefixes = (".".join(parts[:end]) for end in range(1, len(parts) + 1))
    return {prefix for prefix in prefixes if _path(prefix).is_file()}


def _walk_runtime(tree: ast.AST) -> list[ast.AST]:
    """Every node but those under ``if TYPE_CHECKING``, which never run."""
    found = [tree]
    for node in found:
        only_typing = isinstance(node, ast.If) and ast.unparse(node.test).split(".")[-1] == "TYPE_CHECKING"
        found.extend(node.orelse if only_typing and isinstance(node, ast.If) else ast.iter_child_nodes(node))
    return found


@cache
def _digest(module: str) -> str:
    tree = _tree(module)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_docstring(body[0]):
            node.body = body[1:]  # type: ignore[attr-defined]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:16]


def _is_docstring(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _tree(module: str) -> ast.Module:
    return ast.parse(_path(module).read_text(encoding="utf-8"))


def _path(module: str) -> Path:
    base = ROOT.joinpath(*module.split("."))
    package = base / "__init__.py"
    return package if package.is_file() else base.with_suffix(".py")


@cache
def _distributions() -> dict[str, list[str]]:
    return dict(packages_distributions())
