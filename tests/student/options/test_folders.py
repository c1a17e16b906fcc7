"""Output folders are checked before anything is bought."""

from __future__ import annotations

from pathlib import Path

import pytest

from student.cli import main
from student.errors import BadInput
from student.options.folders import require_room, require_writable


def test_a_folder_that_can_be_made_is_accepted_and_not_made(tmp_path: Path) -> None:
    require_writable(tmp_path / "a" / "b", "--out")
    require_room(tmp_path / "a" / "b", 1, "--out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("below", ["", "a/b"])
def test_a_file_in_the_place_of_a_folder_is_refused(below: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match=r"--out .*file.* is not a folder"):
        require_writable(tmp_path / "file" / below, "--out")


def test_a_folder_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(BadInput, match=r"--cache /proc/nowhere: /proc cannot be written"):
        require_writable(Path("/proc/nowhere"), "--cache")


def test_a_disk_without_room_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"needs at least .* on the disk, which has"):
        require_room(tmp_path, 2**70, "--cache")


def test_demo_data_into_a_file_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main(["demo-data", "--out", str(tmp_path / "file")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: --out {tmp_path}/file: ")
    assert error.count("\n") == 1
