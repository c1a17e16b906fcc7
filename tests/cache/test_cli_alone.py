"""`cache-report` in a process of its own, with only this package."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.cache_command import ROOT, run


def test_the_api_key_cannot_be_an_argument() -> None:
    """Arguments are in the process list and in the shell's history."""
    shown = run("audit", "--help")
    assert shown.returncode == 0
    assert "--key " not in shown.stdout.replace("--key-file", "")


@pytest.mark.usefixtures("bought")
def test_a_closed_pipe_is_not_an_error() -> None:
    """As in `cache-report export | head`."""
    command = [sys.executable, "-u", "-m", "cache.cli", "export", "--format", "json"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as export:
        assert export.stdout is not None
        assert export.stderr is not None
        export.stdout.close()
        assert export.stderr.read() == ""
    assert export.returncode == 0


def test_help_lists_every_command() -> None:
    """And exits with 0."""
    shown = run("--help")
    assert shown.returncode == 0
    for command in ("summary", "by-day", "verify", "merge", "write-off", "export", "audit"):
        assert command in shown.stdout


def test_help_imports_nothing_heavy() -> None:
    """So that it prints at once."""
    script = "import sys, cache.cli; cache.cli._parser(); print(*sys.modules)"
    shown = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not {"numpy", "rich", "diskcache", "pydantic", "sqlite3"} & set(shown.stdout.split())


ALONE = """
import importlib, pkgutil, sys

class Forbidden:
    names = {"torch", "torchvision", "httpx", "fastapi", "student", "teacher_server", "open_clip"}
    names |= {"matplotlib", "pyarrow"}

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ImportError(f"{name} is not installed on an accountant's machine")

sys.meta_path.insert(0, Forbidden())
import cache
import cache.cli
for module in pkgutil.iter_modules(cache.__path__):
    importlib.import_module(f"cache.{module.name}")
found = Forbidden.names & {name.partition(".")[0] for name in sys.modules}
assert not found, found
sys.exit(cache.cli.main(sys.argv[1:]))
"""


@pytest.mark.usefixtures("bought")
@pytest.mark.parametrize(
    ("command", "printed"), [(["verify"], "sound"), (["html", os.devnull], "2 receipts reported")]
)
def test_reports_need_neither_torch_nor_the_client_nor_the_vendor(
    command: list[str], printed: str
) -> None:
    """Only the cache folder and this package."""
    alone = subprocess.run(
        [sys.executable, "-c", ALONE, *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (alone.returncode, alone.stderr) == (0, "")
    assert printed in alone.stdout
