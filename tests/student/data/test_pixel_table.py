"""The table of pixels that training reads."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from student.data.archives import layout
from student.data.folder.image_folder import discover
from student.data.pixel_table import pixel_table
from student.data.views import open_rgb, render
from student.errors import BadInput
from tests.support.pictures import write_domains


def test_rows_follow_the_items_and_columns_the_views(tmp_path: Path) -> None:
    items = discover(write_domains(tmp_path / "set")).items
    table = pixel_table(items, size=8, views=3, folder=tmp_path / "pixels")
    assert table.pixels.shape == (30, 3, 8, 8, 3)
    for row in (0, 7, 29):
        image = open_rgb(items[row].path)
        for k in range(3):
            expected = render(image, items[row].digest, k, 8)
            np.testing.assert_array_equal(table.pixels[row, k], expected)


def test_a_second_call_reads_what_the_first_rendered(tmp_path: Path) -> None:
    items = discover(write_domains(tmp_path / "set")).items
    counted: list[int] = []
    for _ in range(2):
        pixel_table(
            items,
            size=8,
            views=1,
            folder=tmp_path / "pixels",
            progress=lambda done, _: counted.append(done),
        )
    assert counted == list(range(1, 31))


def test_a_broken_image_is_reported_by_its_row_and_does_not_stop_the_rest(tmp_path: Path) -> None:
    root = write_domains(tmp_path / "set")
    (root / "d0" / "c0" / "i1.png").write_bytes(b"not an image")
    table = pixel_table(discover(root).items, size=8, views=1, folder=tmp_path / "pixels")
    assert list(table.unreadable) == [1]
    assert "i1.png" in table.unreadable[1]
    assert table.readable().sum() == 29


def test_no_items_make_an_empty_table(tmp_path: Path) -> None:
    table = pixel_table((), size=8, views=2, folder=tmp_path)
    assert table.pixels.shape == (0, 2, 8, 8, 3)


def _fallocate(error: int) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise OSError(error, os.strerror(error))

    return fail


def test_a_full_disk_is_an_error_and_not_a_signal_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = discover(write_domains(tmp_path / "set")).items
    folder = tmp_path / "pixels"
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", _fallocate(errno.ENOSPC))
        with pytest.raises(OSError, match="No space left on device") as error:
            pixel_table(items, size=8, views=1, folder=folder)
    assert str(folder) in str(error.value)
    assert list(folder.iterdir()) == []
    assert pixel_table(items, size=8, views=1, folder=folder).readable().all()


def test_a_disk_without_room_for_the_table_is_refused_with_the_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = discover(write_domains(tmp_path / "set")).items
    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(BadInput, match=r"needs at least 1\.4 MiB on the disk, which has 0\.0 MiB"):
        pixel_table(items, size=128, views=1, folder=tmp_path)


def test_a_file_system_that_cannot_reserve_blocks_gets_zeros_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = discover(write_domains(tmp_path / "set")).items
    usual = pixel_table(items, size=8, views=2, folder=tmp_path / "usual")
    monkeypatch.setattr(os, "posix_fallocate", _fallocate(errno.EOPNOTSUPP))
    other = pixel_table(items, size=8, views=2, folder=tmp_path / "other")
    np.testing.assert_array_equal(usual.pixels, other.pixels)
    (first,) = (tmp_path / "usual").glob("*.npy")
    assert first.read_bytes() == (tmp_path / "other" / first.name).read_bytes()


@pytest.fixture
def small_archives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Archives of a few images, so that a test has several."""
    monkeypatch.setattr(layout, "ARCHIVE_BYTES", 9000)


@pytest.mark.usefixtures("small_archives")
def test_a_table_in_archives_has_the_pixels_of_the_mapped_one(tmp_path: Path) -> None:
    root = write_domains(tmp_path / "set")
    (root / "d0" / "c0" / "i1.png").write_bytes(b"not an image")
    items = discover(root).items
    counted: list[int] = []
    mapped = pixel_table(items, size=8, views=3, folder=tmp_path / "pixels")
    archived = pixel_table(
        items,
        size=8,
        views=3,
        folder=tmp_path / "unused",
        address=str(tmp_path / "archives"),
        progress=lambda done, total: counted.append(total - done),
    )
    assert len(list((tmp_path / "archives").glob("*/*.tar"))) == 15
    assert list(archived.unreadable) == list(mapped.unreadable) == [1]
    np.testing.assert_array_equal(
        np.asarray(archived.pixels), np.asarray(mapped.pixels), strict=True
    )
    assert counted == list(range(29, -1, -1))
    assert not (tmp_path / "unused").exists()


def test_no_items_make_no_archive(tmp_path: Path) -> None:
    table = pixel_table((), size=8, views=2, folder=tmp_path, address="nosuch://bucket")
    assert table.pixels.shape == (0, 2, 8, 8, 3)
