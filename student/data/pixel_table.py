"""Every image's views, rendered once into a table that training reads: one memory-mapped file, or
archives at any address."""

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.lib.format import write_array_header_1_0
from numpy.typing import NDArray

from cache.storage.atomic_file import replace_file, replacing, reserve
from student.data.archives.archive_folder import ArchiveFolder
from student.data.archives.layout import Layout
from student.data.archives.rendering import opened_table
from student.data.folder.image_folder import Item
from student.data.views import RECIPE, open_rgb, render
from student.errors import DataError
from student.options.folders import require_room
from student.training.pixels import Pixels, SelectedPixels

_Table: TypeAlias = np.memmap[Any, np.dtype[np.uint8]]
_READING = "reading/3"  # how a file is decoded; version 3: a transparent grey of any depth


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelTable:
    """uint8 pixels (N, K, S, S, 3), row by row with the items; rows of `unreadable` are blank."""

    pixels: Pixels
    unreadable: dict[int, str]  # row -> reason

    def readable(self) -> NDArray[np.bool_]:
        """Which rows hold an image: (N,)."""
        mask = np.ones(len(self.pixels), dtype=bool)
        mask[list(self.unreadable)] = False
        return mask


def pixel_table(
    items: Sequence[Item],
    *,
    size: int,
    views: int,
    folder: Path,
    address: str | None = None,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> PixelTable:
    """The items' first `views` views at `size` pixels; `folder` keeps them for the next run, or the
    archives at `address`, a path or a URL that fsspec reads.

    The name of a table is a digest of everything that decides its pixels. A killed run leaves no
    partial table; of a table in archives, the next run renders what is missing. `progress(done,
    total)` counts images. An unreadable image is listed in `unreadable` and raises no error, so
    that a broken file does not stop the run.
    """
    name = _name(items, size=size, views=views)
    if address is not None and items:
        layout = Layout.of(images=len(items), views=views, size=size)
        return _in_archives(items, ArchiveFolder(address, name), layout, progress)
    path, meta = folder / f"{name}.npy", folder / f"{name}.json"
    if not meta.exists():
        folder.mkdir(parents=True, exist_ok=True)
        unreadable = _render_all(items, path, size=size, views=views, progress=progress)
        described = json.dumps({str(row): reason for row, reason in unreadable.items()})
        replace_file(meta, described.encode())
    stored = {int(row): reason for row, reason in json.loads(meta.read_text("utf-8")).items()}
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


def _in_archives(
    items: Sequence[Item],
    folder: ArchiveFolder,
    layout: Layout,
    progress: Callable[[int, int], None],
) -> PixelTable:
    def fill(rows: range, pixels: NDArray[np.uint8]) -> dict[int, str]:
        def done(count: int, _: int) -> None:
            progress(rows.start + count, len(items))

        found = _fill(items[rows.start : rows.stop], pixels, done)
        return {rows.start + row: reason for row, reason in found.items()}

    table, unreadable = opened_table(folder, layout, fill)
    pixels = SelectedPixels.whole(table, table.checksums)
    return PixelTable(pixels=pixels, unreadable=unreadable)


def _render_all(
    items: Sequence[Item],
    path: Path,
    *,
    size: int,
    views: int,
    progress: Callable[[int, int], None],
) -> dict[int, str]:
    """Write the table of all views, and return why each unreadable row is blank."""
    if not items:
        return {}
    shape = (len(items), views, size, size, 3)
    require_room(path.parent, math.prod(shape), "--out")
    with replacing(path) as file:
        table = _new_table(file, shape)
        unreadable = _fill(items, table, progress)
        table.flush()
        del table  # Windows renames no file that is mapped
    return unreadable


def _new_table(file: BinaryIO, shape: tuple[int, ...]) -> _Table:
    """A table of this shape in a new file, mapped for writing."""
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    write_array_header_1_0(file, header)
    start = file.tell()
    reserve(file, start + math.prod(shape))
    return np.memmap(file.name, mode="r+", dtype=np.uint8, shape=shape, offset=start)


def _fill(
    items: Sequence[Item], table: NDArray[np.uint8], progress: Callable[[int, int], None]
) -> dict[int, str]:
    views, size = table.shape[1:3]
    unreadable: dict[int, str] = {}

    def render_row(row: int) -> str | None:
        item = items[row]
        try:
            image = open_rgb(item.path, item.read_bytes())
        except (DataError, OSError) as error:
            return str(error)
        for k in range(views):
            table[row, k] = render(image, item.digest, k, size)
        return None

    with ThreadPoolExecutor() as pool:
        for row, reason in enumerate(pool.map(render_row, range(len(items)))):
            if reason is not None:
                unreadable[row] = reason
            progress(row + 1, len(items))
    return unreadable
