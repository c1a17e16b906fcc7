"""The stored views that a step shows, on the device that trains.

Shapes: N images, K views, S pixels a side, B batch.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from student.training.pixels import Pixels, SelectedPixels

_ROWS = 4096  # copied at a time: the table may be larger than memory


class StoredPixels:
    """Reads views (B, S, S, 3) uint8 of a table (N, K, S, S, 3) onto a device.

    A table that fits into half of the device's free memory is copied there once, so that no step
    waits for the host; otherwise each batch is sent. Both give the same pixels.
    """

    def __init__(self, pixels: Pixels, device: torch.device) -> None:
        self._pixels = pixels
        self._device = device
        fits = pixels.nbytes <= free_memory(device) // 2
        self._resident = _copied(pixels, device) if fits else None
        # Only what is not in memory takes a while to read.
        is_slow = not fits and isinstance(pixels, SelectedPixels)
        self._reader = ThreadPoolExecutor(1) if is_slow else None

    def begin(self, rows_B: NDArray[np.int64], views_B: NDArray[np.int64]) -> Callable[[], Tensor]:
        """A function that returns the views `views_B` of the images `rows_B`.

        It waits for them: if they are not in memory, they are read from now on.
        """
        if self._resident is not None:
            return partial(self._of_resident, self._resident, rows_B, views_B)
        read: Callable[[], Any] = partial(self._pixels.__getitem__, (rows_B, views_B))
        if self._reader is not None:
            read = self._reader.submit(read).result
        return lambda: on_device(torch.from_numpy(read()), self._device)

    def _of_resident(
        self, resident: Tensor, rows_B: NDArray[np.int64], views_B: NDArray[np.int64]
    ) -> Tensor:
        at_B, which_B = (
            torch.from_numpy(numbers).to(self._device) for numbers in (rows_B, views_B)
        )
        return resident[at_B, which_B]


def free_memory(device: torch.device) -> int:
    """The free bytes of a GPU; 0 for a CPU, where the table is in memory or mapped already."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0


def on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device. A GPU copies it from page-locked memory, while the host goes on."""
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def _copied(pixels: Pixels, device: torch.device) -> Tensor:
    resident = torch.empty(pixels.shape, dtype=torch.uint8, device=device)
    for first in range(0, len(pixels), _ROWS):
        chunk = np.array(pixels[first : first + _ROWS])  # a mapped table cannot be written to
        resident[first : first + _ROWS] = torch.from_numpy(chunk).to(device)
    return resident
