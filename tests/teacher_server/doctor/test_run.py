"""The command as a whole: its exit code, its text, and that it changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from teacher_server.cli import main
from tests.teacher_server.doctor.conftest import Doctor


def _files(folder: Path) -> dict[Path, tuple[int, bytes]]:
    return {
        file: (file.stat().st_mtime_ns, file.read_bytes())
        for file in folder.rglob("*")
        if file.is_file()
    }


def test_where_nothing_is_wrong_every_finding_is_ok_and_no_file_changes(
    doctor: Doctor, tmp_path: Path
) -> None:
    before = _files(tmp_path)
    code, found = doctor()
    assert code == 0
    assert {one["level"] for part in found.values() for one in part} == {"ok"}
    assert {"settings", "clock", "port", "open files", "disk", "database", "schema"} <= set(found)
    assert {"pepper", "keys", "model", "preprocessing", "memory", "device"} <= set(found)
    assert found["keys"][0]["detail"] == "1 of 1 keys can buy"
    assert _files(tmp_path) == before


def test_a_vendor_that_was_never_started_may_start_and_nothing_is_made(
    doctor: Doctor, tmp_path: Path
) -> None:
    code, found = doctor("--database", f"sqlite:///{tmp_path}/new/ledger.db")
    assert code == 0
    assert "the first start makes it" in found["database"][0]["detail"]
    assert not (tmp_path / "new").exists()


def test_settings_that_cannot_be_read_are_the_last_finding(doctor: Doctor) -> None:
    code, found = doctor("--port", "70000")
    assert code == 1
    assert list(found) == ["settings"]
    assert found["settings"][0]["detail"].startswith("option port: ")


def test_a_variable_that_no_option_reads_is_a_warning(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEACHER_MICRO_USD_PER_UNT", "500")
    code, found = doctor()
    assert code == 0
    read, unread = found["settings"]
    assert (read["level"], unread["level"]) == ("ok", "warning")
    assert unread["detail"] == "no option reads TEACHER_MICRO_USD_PER_UNT"


def test_one_fault_hides_no_other(doctor: Doctor, tmp_path: Path) -> None:
    code, found = doctor("--model", str(tmp_path), "--database", "mysql", "--device", "abacus")
    assert code == 1
    for subject in ("ledger", "model", "device"):
        (fault,) = found[subject]
        assert fault["level"] == "error"
        assert fault["fix"]


def test_without_json_each_fault_is_a_line_with_its_fix_and_they_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--port", "0", "--max-connections", "10", "--model", str(tmp_path)]
    code = main(["doctor", *options, "--database", f"sqlite:///{tmp_path}/ledger.db"])
    lines = capsys.readouterr().out.splitlines()
    assert code == 1
    (at,) = [n for n, line in enumerate(lines) if line.startswith("error    model: ")]
    assert lines[at + 1].startswith("         fix: check --model")
    assert lines[-1] == "1 errors, 0 warnings; nothing was changed"
