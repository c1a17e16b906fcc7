"""Where each view of a table is: in which archive, and from which byte on."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

ARCHIVE_BYTES: Final = 2**26  # about; one archive is in memory while it is rendered
_BLOCK: Final = 512  # of a tar archive
_ARRAY_HEADER: Final = 128  # of a .npy file
_PIXELS_AT: Final = _BLOCK + _ARRAY_HEADER


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A table (N, K, S, S, 3) of `images` with `views` each of `size` pixels a side, in archives of
    `each` images.

    WebDataset reads these archives, too: each view is a member ROW.VIEW.npy. Members are not
    compressed and equally long, so each view is found without reading the others.
    """

    images: int
    views: int
    size: int
    each: int

    @classmethod
    def of(cls, *, images: int, views: int, size: int) -> Self:
        """The layout of a new table: archives of `ARCHIVE_BYTES`, and one image at least."""
        one = cls(images=images, views=views, size=size, each=1)
        each = max(1, ARCHIVE_BYTES // (views * one.member_bytes))
        return cls(images=images, views=views, size=size, each=each)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.images, self.views, self.size, self.size, 3)

    @property
    def archives(self) -> int:
        """How many there are."""
        return -(-self.images // self.each)

    @property
    def view_bytes(self) -> int:
        return 3 * self.size**2

    @property
    def member_bytes(self) -> int:
        """The bytes of a member with its tar header."""
        blocks = -(-(_ARRAY_HEADER + self.view_bytes) // _BLOCK)
        return (1 + blocks) * _BLOCK

    def rows(self, number: int) -> range:
        """The images of an archive."""
        return range(number * self.each, min((number + 1) * self.each, self.images))

    def archive_bytes(self, number: int) -> int:
        """The size of an archive."""
        return len(self.rows(number)) * self.views * self.member_bytes + 2 * _BLOCK

    def new_archive(self, number: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """The bytes of an archive of black views, and these views in it: (n, K, S, S, 3)."""
        rows = self.rows(number)
        content = np.zeros(self.archive_bytes(number), np.uint8)
        members = content[: -2 * _BLOCK].reshape(-1, self.member_bytes)
        for member, (row, view) in zip(
            members, ((row, view) for row in rows for view in range(self.views)), strict=True
        ):
            member[:_PIXELS_AT] = np.frombuffer(self._headers(row, view), np.uint8)
        return content, self.pixels_of(members).reshape(len(rows), *self.shape[1:])

    def pixels_of(self, members: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The pixels (M, 3 S S) in the bytes of members (M, `member_bytes`)."""
        return members[:, _PIXELS_AT : _PIXELS_AT + self.view_bytes]

    def _headers(self, row: int, view: int) -> bytes:
        member = tarfile.TarInfo(f"{row:09}.{view}.npy")
        member.size = _ARRAY_HEADER + self.view_bytes
        # Written here, because numpy's own header may be longer in another version.
        array = {"descr": "|u1", "fortran_order": False, "shape": (self.size, self.size, 3)}
        text = str(array).encode().ljust(_ARRAY_HEADER - 11) + b"\n"
        start = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little")
        return member.tobuf(tarfile.USTAR_FORMAT) + start + text


def archive_name(number: int) -> str:
    """The file name of an archive."""
    return f"{number:06}.tar"
