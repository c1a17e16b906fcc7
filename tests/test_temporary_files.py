"""Where the tests put their temporary files."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support import temporary_files
from tests.support.temporary_files import CHOICES, use_memory


@pytest.fixture(autouse=True)
def _any_room_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(temporary_files, "NEEDED_BYTES", 0)
    monkeypatch.setattr(tempfile, "tempdir", None)


def test_a_folder_in_memory_is_used_by_this_process_and_its_children(tmp_path: Path) -> None:
    environment: dict[str, str] = {}
    assert use_memory(environment, tmp_path) == f"{tmp_path}, in memory"
    assert environment == {"TMPDIR": str(tmp_path)}


def test_temporary_files_that_python_has_placed_before_go_there_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in CHOICES:
        monkeypatch.setenv(name, "")
    tempfile.gettempdir()
    use_memory(os.environ, tmp_path)
    assert tempfile.gettempdir() == str(tmp_path)


@pytest.mark.parametrize("name", CHOICES)
def test_a_place_that_the_user_has_chosen_is_kept(tmp_path: Path, name: str) -> None:
    environment = {name: "/var/scratch"}
    assert use_memory(environment, tmp_path) == f"/var/scratch, by {name}"
    assert environment == {name: "/var/scratch"}


@pytest.mark.parametrize(
    ("flags", "free_bytes", "reason"),
    [(os.ST_NOEXEC, 1 << 40, "no program can be run"), (0, 64 << 20, "has 0.1 GB free, and 2.1")],
)
def test_memory_without_room_or_programs_is_not_used_and_the_reason_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: int, free_bytes: int, reason: str
) -> None:
    found = SimpleNamespace(f_flag=flags, f_bavail=free_bytes, f_frsize=1)
    monkeypatch.setattr(os, "statvfs", lambda _: found)
    monkeypatch.setattr(temporary_files, "NEEDED_BYTES", 2 << 30)
    environment: dict[str, str] = {}
    assert reason in use_memory(environment, tmp_path)
    assert environment == {}


def test_a_machine_without_such_a_folder_uses_its_disk(tmp_path: Path) -> None:
    environment: dict[str, str] = {}
    assert "is no folder that can be written" in use_memory(environment, tmp_path / "none")
    assert environment == {}
