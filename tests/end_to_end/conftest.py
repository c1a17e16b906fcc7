"""Fixtures for real processes: the vendor with the embedded model, and images to train on."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from student.data.demo.lay_out import all_emoji, mark
from student.data.demo.styles import styles
from tests.support.forked_commands import forked_commands
from tools.local_vendor import local_vendor

BIN = Path(sys.executable).parent
STYLES = ("apple", "google", "outline")
CLASSES = ("bird", "drink", "heart")
EACH = 5  # emoji of a class


def invoke(
    *command: str, key: str = "", exit_code: int = 0, is_forked: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run one of the project's commands and check its exit code.

    With `is_forked` false the installed command runs, which takes some seconds longer.
    """
    environment = {**os.environ, "TEACHER_API_KEY": key, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [str((forked_commands() if is_forked else BIN) / command[0]), *command[1:]],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == exit_code, done.stdout + done.stderr
    return done


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningVendor:
    """A running vendor: its URL, its database, and a function that creates a key with a budget."""

    url: str
    database: str
    new_key: Callable[[int], str]


@pytest.fixture(scope="session")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningVendor]:
    """A vendor that serves the embedded model from a process of its own."""
    folder = tmp_path_factory.mktemp("vendor")
    database = f"sqlite:///{folder}/ledger.db"
    made = 0

    def new_key(budget: int) -> str:
        nonlocal made
        made += 1
        done = invoke(
            *("teacher-server", "keys", "create", "--database", database),
            *("--name", f"key {made}", "--budget", str(budget), "--json"),
        )
        return str(json.loads(done.stdout)["key"])

    with ExitStack() as stack:
        url = stack.enter_context(local_vendor(folder, database, programs=forked_commands()))
        yield RunningVendor(url=url, database=database, new_key=new_key)


@pytest.fixture(scope="session")
def emoji(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of emoji: three styles, three classes, five images each."""
    root = tmp_path_factory.mktemp("emoji")
    draw = styles()
    for class_name in CLASSES:
        chosen = [e for e in all_emoji() if e.class_name == class_name][:EACH]
        for style in STYLES:
            folder = root / style / class_name
            folder.mkdir(parents=True)
            for symbol in chosen:
                image = draw[style](symbol.codepoints)
                assert image is not None
                image.save(folder / f"{symbol.stem}.png")
    mark(root)
    return root
