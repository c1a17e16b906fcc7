"""Pixels of stored views that are read when they are asked for, from tables larger than memory.

Shapes: N images, K views, S pixels a side, B views that are read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Pixels(Protocol):
    """uint8 pixels (N, K, S, S, 3), or (N, S, S, 3) of one view: an array, a mapped file, or
    `SelectedPixels`."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def ndim(self) -> int: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def nbytes(self) -> int: ...
    def __len__(self) -> int: ...
    def __getitem__(self, key: Any, /) -> Any: ...


class ViewTable(Protocol):
    """A table (N, K, S, S, 3) of which single views are read: `table[rows_B, views_B]` is
    (B, S, S, 3)."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    def __getitem__(self, key: tuple[NDArray[np.int64], NDArray[np.int64]], /) -> Any: ...


class SelectedPixels:
    """Some images and views of a table, indexed as an array of these would be.

    A slice of images, with a slice of views or one view, is another selection and reads nothing.
    Numbers and arrays of numbers read these views; `np.asarray` reads all.

    `checksums` (N, K) are of the whole table, if each view has one.
    """

    def __init__(
        self,
        table: ViewTable,
        rows: NDArray[np.int64],
        views: NDArray[np.int64],
        *,
        checksums: NDArray[np.uint64] | None = None,
    ) -> None:
        """`views` (K,), or () for one view."""
        self._table = table
        self._rows = rows
        self._views = views
        self._checksums = checksums

    @classmethod
    def whole(cls, table: ViewTable, checksums: NDArray[np.uint64] | None = None) -> SelectedPixels:
        """All images and views of a table."""
        images, views = table.shape[:2]
        return cls(table, np.arange(images), np.arange(views), checksums=checksums)

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self._rows), *self._views.shape, *self._table.shape[2:])

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.uint8)

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape)

    @property
    def checksums(self) -> NDArray[np.uint64] | None:
        """The checksum of each view: (N, K), or (N,) of one view. None if the table has none."""
        if self._checksums is None:
            return None
        return self._checksums[self._places()]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: Any) -> Any:
        images, views = key if isinstance(key, tuple) else (key, None)
        if views is None:
            views = slice(None) if self._views.ndim else ()
        elif not self._views.ndim:
            message = "these are images of one view: there is no view to choose"
            raise IndexError(message)
        chosen = SelectedPixels(
            self._table,
            self._rows[images] if isinstance(images, slice) else self._rows,
            np.asarray(self._views[views]),
            checksums=self._checksums,
        )
        if isinstance(images, slice):
            if np.ndim(chosen._views) and not isinstance(views, slice):
                message = "a slice of images takes a slice of views, or one view"
                raise IndexError(message)
            return chosen
        return chosen._read(self._rows[images], is_grid=isinstance(views, slice))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            message = "the pixels are not in memory: reading them makes a copy"
            raise ValueError(message)
        whole = self._read(self._rows, is_grid=bool(self._views.ndim))
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def images(self, rows: Sequence[int] | NDArray[np.int64]) -> SelectedPixels:
        """These images of it, in this order. Reads nothing."""
        chosen = self._rows[np.asarray(rows, dtype=np.int64)]
        return SelectedPixels(self._table, chosen, self._views, checksums=self._checksums)

    def _read(self, rows: Any, *, is_grid: bool) -> NDArray[np.uint8]:
        """The views of these rows of the table: all of each row, or one for each row."""
        rows, views = np.broadcast_arrays(rows[..., None] if is_grid else rows, self._views)
        read = self._table[rows.ravel(), views.ravel()]
        pixels: NDArray[np.uint8] = read.reshape(*rows.shape, *self._table.shape[2:])
        return pixels

    def _places(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return (self._rows[:, None] if self._views.ndim else self._rows), self._views


def images_of(pixels: Pixels, rows: Sequence[int] | NDArray[np.int64]) -> Pixels:
    """The images of these rows, in this order, read when they are asked for."""
    if isinstance(pixels, SelectedPixels):
        return pixels.images(rows)
    return SelectedPixels.whole(pixels).images(rows)


def checksums_of(pixels: Pixels) -> NDArray[np.uint64] | None:
    """The checksum of each view, if the pixels come from a table that has them."""
    return pixels.checksums if isinstance(pixels, SelectedPixels) else None
