"""Pixels in archives of three images each, for training that reads them from there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from student.data.archives.archive_folder import ArchiveFolder
from student.data.archives.layout import Layout
from student.data.archives.rendering import opened_table
from student.training.pixels import SelectedPixels


def archived(pixels: NDArray[np.uint8], folder: Path, name: str = "table") -> SelectedPixels:
    """These pixels (N, K, S, S, 3), read from the archives of a folder, which are made if they are
    not there yet."""
    images, views, size = pixels.shape[:3]

    def fill(rows: range, into: NDArray[np.uint8]) -> dict[int, str]:
        into[:] = pixels[rows.start : rows.stop]
        return {}

    layout = Layout(images=images, views=views, size=size, each=3)
    table = opened_table(ArchiveFolder(str(folder), name), layout, fill).table
    return SelectedPixels.whole(table, table.checksums)
