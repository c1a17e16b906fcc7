"""The public Python API of the package `cache`."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import cache
from tests.support.cache_command import ROOT


def in_new_process(script: str) -> str:
    """What a script prints in a process that has imported nothing yet."""
    return subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout


def test_every_public_name_can_be_imported() -> None:
    """In a new process, so that no other test has imported it before."""
    script = "import cache\nfor name in cache.__all__: print(getattr(cache, name).__name__)"
    assert in_new_process(script).split() == cache.__all__


def test_what_type_checkers_see_is_what_can_be_imported() -> None:
    """The imports under TYPE_CHECKING and the table of modules say the same."""
    tree = ast.parse(Path(cache.__file__).read_text(encoding="utf-8"))
    declared = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cache.")
        for alias in node.names
    }
    assert declared == cache._MODULES
    assert sorted(declared) == sorted(cache.__all__)


@pytest.mark.parametrize("heavy", ["numpy", "diskcache", "pydantic", "rich", "sqlite3"])
def test_importing_the_package_imports_nothing_heavy(heavy: str) -> None:
    """A name costs its imports when it is first used."""
    assert heavy not in in_new_process("import sys, cache; print(*sys.modules)").split()


def test_every_public_name_has_a_docstring() -> None:
    """They are the reference."""
    assert [name for name in cache.__all__ if not getattr(cache, name).__doc__] == []


def test_an_unknown_name_is_an_attribute_error() -> None:
    """As with any module."""
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        cache.nonsense  # noqa: B018
