"""Port, open files, clock, disks and secrets of the environment."""

from __future__ import annotations

import resource
import shutil
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.teacher_server.doctor.conftest import Doctor


def test_a_port_that_is_taken_is_an_error(doctor: Doctor) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        number = other.getsockname()[1]
        code, found = doctor("--port", str(number))
        assert code == 1
        assert found["port"][0]["detail"] == (
            f"cannot listen on 127.0.0.1:{number}: Address already in use"
        )
    assert doctor("--port", str(number))[0] == 0


def test_a_hard_limit_on_open_files_that_is_too_low_is_a_warning_with_the_number_that_fits(
    doctor: Doctor,
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    code, found = doctor("--max-connections", str(limits[1]))
    assert code == 0
    (finding,) = found["open files"]
    assert finding["level"] == "warning"
    assert f"--max-connections {limits[1] - 256}" in finding["fix"]
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == limits


def test_a_clock_before_the_first_version_is_an_error(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("teacher_server.doctor.machine.unix_ms", lambda: 0)
    code, found = doctor()
    assert (code, found["clock"][0]["detail"]) == (1, "it says 1970-01-01 00:00:00 UTC")


@pytest.mark.parametrize(("free", "level"), [(2**31, "ok"), (2**29, "warning"), (2**20, "error")])
def test_little_room_is_a_warning_and_almost_none_an_error(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, free: int, level: str
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))
    code, found = doctor()
    assert found["disk"][0]["level"] == level
    assert code == (level == "error")


def test_each_file_that_is_written_has_its_disk_looked_at(doctor: Doctor, tmp_path: Path) -> None:
    _, found = doctor("--url-file", str(tmp_path / "run" / "url"))
    assert [f"{tmp_path}, for the URL" in one["detail"] for one in found["disk"]] == [False, True]


def test_a_first_key_that_is_none_is_an_error_and_is_not_shown(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEACHER_FIRST_KEY", "sk_lab_too-short")
    code, found = doctor()
    assert code == 1
    assert "too-short" not in str(found)
    monkeypatch.setenv("TEACHER_FIRST_KEY", "sk_lab_Zm9vYmFyYmF6cXV4Zm9v")
    code, found = doctor()
    assert (code, found["first key"][0]["detail"]) == (0, "TEACHER_FIRST_KEY gives the key lab")


def test_a_proxy_that_cannot_be_used_is_an_error_where_there_is_a_webhook(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://:0")
    assert "webhook" not in doctor()[1]
    monkeypatch.setenv("TEACHER_WEBHOOK_URL", "https://alerts.example/hook")
    monkeypatch.setenv("TEACHER_WEBHOOK_SECRET", "s" * 16)
    code, found = doctor()
    assert code == 1
    assert "HTTPS_PROXY" in found["webhook"][0]["detail"]
