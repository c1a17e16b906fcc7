"""What the doctor finds where rendered views are kept: a folder, or a store on the network."""

from __future__ import annotations

import shutil
from pathlib import Path

import fsspec
import pytest

from student.data.archives.archive_folder import ArchiveFolder
from student.doctor import views
from student.doctor.finding import Finding
from student.errors import BadInput
from student.options import Options
from tests.support.s3_server import s3_server


def found_at(pixels: str | Path | None) -> list[Finding]:
    return list(views.address(Options.of({} if pixels is None else {"pixels": str(pixels)})))


def test_a_store_is_tried_out_and_left_as_it_was() -> None:
    with s3_server() as bucket:
        (finding,) = found_at(f"{bucket('views')}/here")
        assert (finding.level, "can be written and read" in finding.detail) == ("ok", True)
        assert fsspec.filesystem("s3").find("views") == []
        (finding,) = found_at("s3://nobody")
    assert finding.level == "warning"
    assert "s3://nobody is not there yet" in finding.detail


def test_a_store_whose_files_cannot_be_deleted_is_a_warning_that_names_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise BadInput

    monkeypatch.setattr(ArchiveFolder, "delete", refuse)
    (finding,) = found_at("memory://kept")
    assert finding.level == "warning"
    assert "write-test, which this command wrote there, cannot be deleted" in finding.detail
    assert fsspec.filesystem("memory").find("/kept") == ["/kept/write-test"]


def test_a_store_that_gives_no_parts_of_files_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ArchiveFolder, "ranges", lambda *_: [b"01"])
    with pytest.raises(BadInput, match="a part of a file cannot be read by itself"):
        found_at("memory://whole")


def test_a_folder_is_looked_at_as_the_others_are_and_not_made(tmp_path: Path) -> None:
    (finding,) = found_at(tmp_path / "views")
    assert (finding.level, finding.subject) == ("ok", "disk, --pixels")
    assert f"{tmp_path / 'views'}: " in finding.detail
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(BadInput, match="--pixels /dev/null/x"):
        found_at("/dev/null/x")


def test_without_the_option_nothing_is_said() -> None:
    assert found_at(None) == []


@pytest.mark.parametrize("is_named", [False, True])
def test_a_disk_without_room_for_all_views_is_a_warning_with_the_figures(
    is_named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=2**31)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    where = tmp_path / ("stored" if is_named else "out")
    # 45 images, of each 300 views and the clean one once more, of 512 x 512 pixels.
    options: dict[str, object] = {"out": tmp_path / "out", "image_size": 512}
    if is_named:
        options["pixels"] = str(where)
    (finding,) = views.room(Options.of({**options, "views": 300}), images=45)
    assert finding.level == "warning"
    assert finding.detail == (
        f"rendered views take at most 9.9 GiB in {where}, whose disk has 2.0 GiB free"
    )
    (finding,) = views.room(Options.of({**options, "views": 3}), images=45)
    assert finding.level == "ok"


def test_an_address_that_cannot_be_used_is_one_error() -> None:
    with pytest.raises(BadInput, match="--pixels nosuch://views cannot be used"):
        found_at("nosuch://views")
    assert list(views.room(Options.of({"pixels": "nosuch://views"}), images=45)) == []


def test_the_room_of_a_store_is_not_known() -> None:
    (finding,) = views.room(Options.of({"pixels": "memory://views"}), images=45)
    assert (finding.level, "the room there is not known" in finding.detail) == ("ok", True)
