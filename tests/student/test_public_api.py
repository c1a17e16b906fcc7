"""What `import student` offers."""

from __future__ import annotations

import subprocess
import sys

import pytest

import student


def test_every_exported_name_can_be_imported_and_has_a_docstring() -> None:
    for name in student.__all__:
        assert getattr(student, name).__doc__, name
    assert set(student.__all__) <= set(dir(student))


def test_importing_the_package_loads_neither_torch_nor_httpx() -> None:
    code = "import sys, student; print(sorted({'torch', 'httpx', 'timm'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        student.nothing  # noqa: B018 # reading it is the test
