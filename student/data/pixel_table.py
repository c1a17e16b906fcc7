"""The pixels that training reads: every image's views, rendered once into a memory-mapped table."""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from student.data.image_folder import Item
from student.data.views import RECIPE, open_rgb, render
from student.errors import DataError

_READING = "reading/2"  # how a file becomes a picture; 2: 16-bit grey


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelTable:
    """uint8 pixels (N, K, S, S, 3), row for row with the items; rows of `unreadable` are blank."""

    pixels: NDArray[np.uint8]
    unreadable: dict[int, str]  # row -> why

    def readable(self) -> NDArray[np.bool_]:
        """Which rows hold a picture: (N,)."""
        mask = np.ones(len(self.pixels), dtype=bool)
        mask[list(self.unreadable)] = False
        return mask


def pixel_table(
    items: Sequence[Item],
    *,
    size: int,
    views: int,
    folder: Path,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> PixelTable:
    """The items' first `views` views at `size` pixels; `folder` keeps them for the next run.

    A table is named after all that decides its pixels, written under a temporary name, synced,
    then renamed: a killed run leaves no half table. `progress(done, total)` counts images.
    An unreadable image is a row of `unreadable`, not an error: one broken file stops nobody.
    """
    name = _name(items, size=size, views=views)
    path, meta = folder / f"{name}.npy", folder / f"{name}.json"
    if not meta.exists():
        folder.mkdir(parents=True, exist_ok=True)
        unreadable = _render_all(items, path, size=size, views=views, progress=progress)
        part = meta.with_suffix(f".{os.getpid()}.part")
        part.write_text(json.dumps({str(row): why for row, why in unreadable.items()}))
        part.replace(meta)
    stored = {int(row): why for row, why in json.loads(meta.read_text()).items()}
    if not items:
        return PixelTable(pixels=np.zeros((0, views, size, size, 3), np.uint8), unreadable={})
    return PixelTable(pixels=np.load(path, mmap_mode="r"), unreadable=stored)


def _name(items: Sequence[Item], *, size: int, views: int) -> str:
    parts = [
        _READING,
        RECIPE if views > 1 else "",
        str(size),
        str(views),
        *(item.digest for item in items),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _render_all(
    items: Sequence[Item],
    path: Path,
    *,
    size: int,
    views: int,
    progress: Callable[[int, int], None],
) -> dict[int, str]:
    if not items:
        return {}
    part = path.with_suffix(f".{os.getpid()}.part")
    shape = (len(items), views, size, size, 3)
    table: np.memmap[Any, np.dtype[np.uint8]] = open_memmap(
        part, mode="w+", dtype=np.uint8, shape=shape
    )
    unreadable: dict[int, str] = {}

    def fill(row: int) -> str | None:
        item = items[row]
        try:
            image = open_rgb(item.path)
        except DataError as error:
            return str(error)
        for k in range(views):
            table[row, k] = render(image, item.digest, k, size)
        return None

    with ThreadPoolExecutor() as pool:
        for row, why in enumerate(pool.map(fill, range(len(items)))):
            if why is not None:
                unreadable[row] = why
            progress(row + 1, len(items))
    table.flush()
    with part.open("rb") as written:
        os.fsync(written.fileno())
    part.replace(path)
    return unreadable
