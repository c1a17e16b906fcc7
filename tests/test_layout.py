"""The source tree: which folders may import which, and that tests mirror the packages."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("teacher_server", "student", "cache")
MAY_IMPORT = {
    **{package: {*PACKAGES} for package in PACKAGES},
    "tools": {*PACKAGES, "tools"},
    "examples": {*PACKAGES, "tools", "examples"},
    "benchmarks": {*PACKAGES, "tools", "benchmarks"},
}
TESTS_OF_NO_PACKAGE = {"attacks", "benchmarks", "end_to_end", "examples", "fixtures", "support"}
TESTS_OF_NO_PACKAGE |= {"docker", "docs", "tools", "with_ray"}
MOST_LOOSE_FILES = 7


def imported_names(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module


@pytest.mark.parametrize("folder", sorted(MAY_IMPORT))
def test_a_folder_imports_only_the_folders_that_it_may_depend_on(folder: str) -> None:
    """Nothing outside tests/ imports tests; the packages import no benchmark, tool or example."""
    ours = {*MAY_IMPORT, "tests"}
    found = {
        f"{file.relative_to(ROOT)} imports {name}"
        for file in (ROOT / folder).rglob("*.py")
        for name in imported_names(file)
        if name.partition(".")[0] in ours - MAY_IMPORT[folder]
    }
    assert found == set()


def test_each_folder_of_tests_mirrors_a_folder_of_a_package() -> None:
    folders = {
        file.parent.relative_to(ROOT / "tests")
        for file in (ROOT / "tests").rglob("test_*.py")
        if file.parent != ROOT / "tests"
    }
    missing = {
        f"tests/{folder}"
        for folder in folders
        if folder.parts[0] not in TESTS_OF_NO_PACKAGE and not (ROOT / folder).is_dir()
    }
    assert missing == set()
    assert {folder.parts[0] for folder in folders} <= TESTS_OF_NO_PACKAGE | {*PACKAGES}


@pytest.mark.parametrize("folder", sorted({*MAY_IMPORT, "tests"}))
def test_at_most_seven_files_lie_beside_folders(folder: str) -> None:
    crowded = {}
    for place in [ROOT / folder, *(p for p in (ROOT / folder).rglob("*") if p.is_dir())]:
        if "fixtures" in place.parts:  # data as an earlier version laid it out
            continue
        entries = [entry for entry in place.iterdir() if entry.name != "__pycache__"]
        files = [e.name for e in entries if e.is_file() and not e.name.startswith("__")]
        if any(entry.is_dir() for entry in entries) and len(files) > MOST_LOOSE_FILES:
            crowded[str(place.relative_to(ROOT))] = sorted(files)
    assert crowded == {}
