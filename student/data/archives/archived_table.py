"""A table of views in archives, of which single views are read."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from student.data.archives.archive_folder import ArchiveFolder
from student.data.archives.layout import Layout, archive_name
from student.errors import DataError

_CHECKSUM_BYTES = 8


class ArchivedTable:
    """Reads views of a table (N, K, S, S, 3). A view that lacks its checksum (N, K) is refused."""

    def __init__(
        self, folder: ArchiveFolder, layout: Layout, checksums: NDArray[np.uint64]
    ) -> None:
        self._folder = folder
        self._layout = layout
        self.checksums = checksums

    @property
    def shape(self) -> tuple[int, ...]:
        return self._layout.shape

    def __getitem__(self, key: tuple[NDArray[np.int64], NDArray[np.int64]]) -> NDArray[np.uint8]:
        """View `views[b]` of image `rows[b]` for each b: (B, S, S, 3). Raises DataError for one
        that is not what was rendered, BadInput if the folder cannot be reached."""
        rows, views = key
        places, which = np.unique(rows * self._layout.views + views, return_inverse=True)
        pixels: NDArray[np.uint8] = self._read(places)[which]
        return pixels.reshape(-1, *self.shape[2:])

    def _read(self, places: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The pixels (M, 3 S S) at these places, which are counted in views and ascend.

        Views that lie side by side in an archive are read together.
        """
        layout, size = self._layout, self._layout.member_bytes
        archives, members = np.divmod(places, layout.each * layout.views)
        is_first = (np.diff(places, prepend=-2) != 1) | (np.diff(archives, prepend=-1) != 0)
        firsts = np.flatnonzero(is_first).tolist()
        ends = [*firsts, len(places)][1:]
        read = self._folder.ranges(
            [archive_name(archives[first]) for first in firsts],
            [int(members[first]) * size for first in firsts],
            [int(members[end - 1] + 1) * size for end in ends],
        )
        pixels = np.empty((len(places), layout.view_bytes), np.uint8)
        for first, end, content in zip(firsts, ends, read, strict=True):
            if len(content) != (end - first) * size:
                raise self._changed(places[first])
            found = np.frombuffer(content, np.uint8).reshape(-1, size)
            pixels[first:end] = layout.pixels_of(found)
        wrong = np.flatnonzero(view_checksums(pixels) != self.checksums.reshape(-1)[places])
        if len(wrong):
            raise self._changed(places[wrong[0]])
        return pixels

    def _changed(self, place: np.int64) -> DataError:
        row, view = divmod(int(place), self._layout.views)
        name = archive_name(row // self._layout.each)
        return DataError(not_as_rendered(self._folder, name, f"view {view} of image {row} differs"))


def view_checksums(pixels: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """The first 64 bits of the BLAKE2b of each view (M, 3 S S): (M,)."""
    digests = (blake2b(view, digest_size=_CHECKSUM_BYTES).digest() for view in pixels)
    numbers = (int.from_bytes(digest, "little") for digest in digests)
    return np.fromiter(numbers, dtype=np.uint64, count=len(pixels))


def not_as_rendered(folder: ArchiveFolder, name: str, reason: str) -> str:
    """What is wrong with a file, and what to do."""
    return (
        f"{folder.address}/{name} is not what was rendered: {reason}. Nothing was charged for "
        "this, and what was bought is stored; delete the file and table.json beside it, then run "
        "the same command again: it renders what is missing"
    )
