"""Sizes, imports and parameters of the Python files below one folder, by parsing them.

Nothing is imported, so a commit whose dependencies are not installed can be measured too.
"""

from __future__ import annotations

import ast
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PACKAGES = ("teacher_server", "student", "cache")
FOLDERS = (*PACKAGES, "benchmarks", "tools", "examples", "tests")
MOST_PARAMETERS, SHORT_FILE = 6, 40  # parameters without self, lines

Function = ast.FunctionDef | ast.AsyncFunctionDef
Arrows = set[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """One Python file, parsed. `name` is its dotted name below the root."""

    name: str
    path: Path
    lines: int
    tree: ast.Module


def measure(root: Path) -> dict[str, Any]:
    """Return the figures of the tree in `root` as a JSON object."""
    readme = root / "README.md"
    return {
        "readme_words": len(readme.read_text(encoding="utf-8").split()),
        "loose_files": loose_files(root),
        "folders": {
            folder: _folder_figures(root, folder) for folder in FOLDERS if (root / folder).is_dir()
        },
    }


def loose_files(root: Path) -> dict[str, int]:
    """Count the files that lie beside subfolders, for each folder that has subfolders.

    Hidden files, `__init__.py`, `__main__.py` and `py.typed` are not counted.
    """
    counts = {}
    tops = [root / name for name in (*FOLDERS, "docs")]
    below = [folder for top in tops for folder in (top, *top.rglob("*")) if folder.is_dir()]
    for folder in (root, *below):
        entries = [e for e in folder.iterdir() if not e.name.startswith((".", "__"))]
        if any(entry.is_dir() for entry in entries):
            files = [e for e in entries if e.is_file() and e.name != "py.typed"]
            counts[folder.relative_to(root).as_posix()] = len(files)
    return counts


def read_modules(root: Path, folder: str) -> dict[str, Module]:
    """Parse every Python file below `root / folder`; the keys are dotted names."""
    modules = {}
    for path in sorted((root / folder).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        name = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        modules[name] = Module(
            name=name, path=path, lines=len(text.splitlines()), tree=ast.parse(text)
        )
    return modules


def imports_between(modules: Mapping[str, Module]) -> Arrows:
    """Return (importer, imported) for each pair of different modules.

    Imports inside functions and under TYPE_CHECKING count too: a reader follows them all the same.
    """
    arrows = set()
    for module in modules.values():
        for node in ast.walk(module.tree):
            for name in _imported(node):
                target = name if name in modules else name.rpartition(".")[0]
                if target in modules and target != module.name:
                    arrows.add((module.name, target))
    return arrows


def between_rooms(arrows: Arrows) -> Arrows:
    """Merge arrows between modules into arrows between the rooms of a package.

    A room is a folder directly below the package, with all that it contains, or a loose file.
    """
    rooms = {(_room(importer), _room(imported)) for importer, imported in arrows}
    return {(importer, imported) for importer, imported in rooms if importer != imported}


def circles(arrows: Arrows) -> list[list[str]]:
    """Return the groups of two or more nodes that all reach each other, each sorted."""
    following: dict[str, set[str]] = {}
    for start, end in arrows:
        following.setdefault(start, set()).add(end)
    reached = {node: _reachable(node, following) for node in following}
    groups = {
        tuple(sorted(other for other in reached[node] if node in reached.get(other, set())))
        for node in reached
    }
    return sorted(list(group) for group in groups if len(group) > 1)


def _folder_figures(root: Path, folder: str) -> dict[str, Any]:
    modules = read_modules(root, folder)
    files = [m for m in modules.values() if not m.path.name.startswith("__")]
    arrows = imports_between(modules)
    functions = [
        (m, f) for m in modules.values() for f in ast.walk(m.tree) if isinstance(f, Function)
    ]
    longest, of, where = max(
        ((_length(f), f.name, m.name) for m, f in functions), default=(0, "", "")
    )
    return {
        "files": len(files),
        "lines": sum(module.lines for module in modules.values()),
        "median_file_lines": statistics.median(module.lines for module in files),
        "files_under_40_lines": sum(module.lines < SHORT_FILE for module in files),
        "arrows": len(between_rooms(arrows)),
        "circles_of_rooms": circles(between_rooms(arrows)),
        "circles_of_files": circles(arrows),
        "functions_over_6_parameters": sorted(
            f"{m.name}.{f.name}" for m, f in functions if _parameters(f) > MOST_PARAMETERS
        ),
        "longest_function": {"name": f"{where}.{of}", "lines": longest},
    }


def _imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module is not None:
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _room(module: str) -> str:
    return ".".join(module.split(".")[:2])


def _reachable(start: str, following: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    pending = [start]
    while pending:
        for node in following.get(pending.pop(), set()) - found:
            found.add(node)
            pending.append(node)
    return found


def _length(function: Function) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


def _parameters(function: Function) -> int:
    given = function.args
    named = [a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    stars = [a for a in (given.vararg, given.kwarg) if a is not None]
    return len(named) + len(stars) - (named[:1] in (["self"], ["cls"]))
