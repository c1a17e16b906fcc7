"""Pixels that stay on the device are those that would be sent for each step."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from student.errors import DataError
from student.training import stored_pixels
from student.training.pixels import SelectedPixels
from student.training.stored_pixels import StoredPixels

CPU = torch.device("cpu")


@pytest.fixture
def table() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (5000, 2, 4, 4, 3), dtype=np.uint8)


@pytest.mark.parametrize("free", [0, 2**40])
def test_both_ways_give_the_views_that_are_asked_for(
    free: int, table: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_pixels, "free_memory", lambda _: free)
    rows, views = np.array([4999, 0, 4096, 0]), np.array([1, 0, 1, 1])
    shown = StoredPixels(table, CPU).begin(rows, views)()
    assert shown.dtype == torch.uint8
    assert np.array_equal(shown.numpy(), table[rows, views])


@pytest.mark.parametrize(("more", "stays"), [(-1, False), (0, True)])
def test_a_table_stays_on_the_device_if_it_fits_into_half_of_the_free_memory(
    more: int, stays: bool, table: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_pixels, "free_memory", lambda _: 2 * table.nbytes + more)
    stored = StoredPixels(table, CPU)
    before = table[7, 0].copy()
    table[7, 0] = 255 - before
    shown = stored.begin(np.array([7]), np.array([0]))()[0].numpy()
    assert np.array_equal(shown, before) is stays


def test_a_cpu_keeps_no_second_copy() -> None:
    assert stored_pixels.free_memory(CPU) == 0


def test_a_table_that_cannot_be_written_to_is_copied(
    table: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_pixels, "free_memory", lambda _: 2**40)
    table.flags.writeable = False  # as a mapped file
    shown = StoredPixels(table, CPU).begin(np.array([3]), np.array([1]))()
    assert np.array_equal(shown.numpy(), table[[3], [1]])


def test_views_that_are_not_in_memory_are_read_ahead(table: np.ndarray) -> None:
    begun, asked = threading.Event(), []

    class Slow:
        shape = table.shape

        def __getitem__(self, key: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
            asked.append(len(key[0]))
            begun.set()
            found: np.ndarray = table[key]
            return found

    stored = StoredPixels(SelectedPixels.whole(Slow()), CPU)
    rows, views = np.array([17, 4000]), np.array([0, 1])
    read = stored.begin(rows, views)
    assert begun.wait(30)  # before they are asked for
    assert np.array_equal(read().numpy(), table[rows, views])
    assert asked == [2]


def test_what_goes_wrong_while_views_are_read_ahead_is_raised_where_they_are_asked_for() -> None:
    class Torn:
        shape = (5000, 2, 4, 4, 3)

        def __getitem__(self, _: object) -> np.ndarray:
            message = "torn"
            raise DataError(message)

    read = StoredPixels(SelectedPixels.whole(Torn()), CPU).begin(np.array([0]), np.array([0]))
    with pytest.raises(DataError, match="torn"):
        read()
