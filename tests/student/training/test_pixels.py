"""Pixels that are read when they are asked for are those of an array that is indexed alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from student.training.pixels import SelectedPixels, checksums_of, images_of

ROWS = np.array([4, 0, 3, 3])
VIEWS = np.array([1, 0, 2, 1])


class Counted:
    """A table that counts the views that were read of it."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self._pixels = pixels
        self.shape = pixels.shape
        self.read = 0

    def __getitem__(self, key: tuple[NDArray[np.int64], NDArray[np.int64]]) -> NDArray[np.uint8]:
        self.read += len(key[0])
        found: NDArray[np.uint8] = self._pixels[key]
        return found


@pytest.fixture
def array() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (5, 3, 4, 4, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "key",
    [
        2,
        -1,
        (2, 1),
        ROWS,
        [1, 1],
        (ROWS, VIEWS),
        (ROWS, 2),
        (ROWS, slice(1, 3)),
        (3, slice(None)),
        (3, VIEWS),
        np.array([True, False, True, False, False]),
        np.array([], dtype=np.int64),
    ],
)
def test_numbers_and_arrays_of_numbers_read_what_they_name(
    key: Any, array: NDArray[np.uint8]
) -> None:
    read = SelectedPixels.whole(array)[key]
    assert isinstance(read, np.ndarray)
    np.testing.assert_array_equal(read, array[key], strict=True)


@pytest.mark.parametrize(
    "key",
    [
        slice(1, 4),
        slice(None),
        slice(9, 9),
        (slice(None), 1),
        (slice(0, 2), slice(0, 2)),
        (slice(None), slice(1, None)),
    ],
)
def test_slices_read_nothing_and_are_pixels_again(key: Any, array: NDArray[np.uint8]) -> None:
    table = Counted(array)
    chosen = SelectedPixels.whole(table)[key]
    expected = array[key]
    assert (chosen.shape, chosen.ndim, len(chosen)) == (
        expected.shape,
        expected.ndim,
        len(expected),
    )
    assert (chosen.dtype, chosen.nbytes) == (expected.dtype, expected.nbytes)
    assert table.read == 0
    np.testing.assert_array_equal(np.asarray(chosen), expected, strict=True)


def test_images_of_one_view_are_read_by_their_numbers(array: NDArray[np.uint8]) -> None:
    clean = SelectedPixels.whole(array)[:, 1]
    np.testing.assert_array_equal(clean[ROWS], array[ROWS, 1])
    np.testing.assert_array_equal(clean[2], array[2, 1])
    np.testing.assert_array_equal(np.asarray(clean[1:3]), array[1:3, 1])
    with pytest.raises(IndexError, match="no view"):
        clean[2, 0]


def test_chosen_images_are_chosen_again_and_only_views_that_are_asked_for_are_read(
    array: NDArray[np.uint8],
) -> None:
    table = Counted(array)
    chosen = SelectedPixels.whole(table).images(ROWS)[:, :2]
    assert chosen.shape == (4, 2, 4, 4, 3)
    np.testing.assert_array_equal(chosen[[0, 2], [1, 1]], array[[4, 3], [1, 1]])
    np.testing.assert_array_equal(np.asarray(chosen.images([2, 0])), array[[3, 4], :2])
    assert table.read == 2 + 4


def test_what_no_array_can_give_is_refused(array: NDArray[np.uint8]) -> None:
    pixels = SelectedPixels.whole(array)
    with pytest.raises(IndexError):
        pixels[5, 0]
    with pytest.raises(IndexError):
        pixels.images([5])
    with pytest.raises(IndexError, match="slice of views, or one view"):
        pixels[:, VIEWS]
    with pytest.raises(ValueError, match="not in memory"):
        np.asarray(pixels, copy=False)


def test_images_of_a_mapped_file_are_not_copied(array: NDArray[np.uint8], tmp_path: Path) -> None:
    np.save(tmp_path / "table.npy", array)
    writable = np.load(tmp_path / "table.npy", mmap_mode="r+")
    chosen = images_of(np.load(tmp_path / "table.npy", mmap_mode="r"), [3, 1])[:, 0]
    before = chosen[0]
    writable[3, 0] = 255 - writable[3, 0]
    writable.flush()
    np.testing.assert_array_equal(before, array[3, 0])
    np.testing.assert_array_equal(chosen[0], 255 - array[3, 0])


def test_checksums_are_chosen_with_their_views(array: NDArray[np.uint8]) -> None:
    checksums = np.arange(15, dtype=np.uint64).reshape(5, 3)
    pixels = SelectedPixels.whole(array, checksums)
    for chosen, expected in (
        (pixels, checksums),
        (pixels[1:3, :2], checksums[1:3, :2]),
        (pixels.images(ROWS)[:, 2], checksums[ROWS, 2]),
        (images_of(pixels[:, 1:], [2]), checksums[[2], 1:]),
    ):
        np.testing.assert_array_equal(checksums_of(chosen), expected)
    assert checksums_of(SelectedPixels.whole(array)) is None
    assert checksums_of(array) is None
