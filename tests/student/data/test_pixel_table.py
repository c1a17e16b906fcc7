"""The table of pixels that training reads."""

from pathlib import Path

import numpy as np

from student.data.image_folder import discover
from student.data.pixel_table import pixel_table
from student.data.views import open_rgb, render
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
