"""Pixels that stay on the device are those that would be sent for each step."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from student.training import stored_pixels
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
    shown = StoredPixels(table, CPU)(rows, views)
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
    shown = stored(np.array([7]), np.array([0]))[0].numpy()
    assert np.array_equal(shown, before) is stays


def test_a_cpu_keeps_no_second_copy() -> None:
    assert stored_pixels.free_memory(CPU) == 0


def test_a_table_that_cannot_be_written_to_is_copied(
    table: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_pixels, "free_memory", lambda _: 2**40)
    table.flags.writeable = False  # as a mapped file
    shown = StoredPixels(table, CPU)(np.array([3]), np.array([1]))
    assert np.array_equal(shown.numpy(), table[[3], [1]])
