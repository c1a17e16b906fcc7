"""Renders what is missing of a table in archives, and opens the complete table.

000000.tar       the views of the first images; and so on
000000.json      their checksums, and why a row is blank; written after the archive
checksums.u64    the checksums of all views, little-endian
table.json       the layout, and the SHA-256 of checksums.u64; written last: without it, the
                 table is not complete
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from student.data.archives.archive_folder import ArchiveFolder
from student.data.archives.archived_table import ArchivedTable, not_as_rendered, view_checksums
from student.data.archives.layout import Layout, archive_name
from student.errors import DataError

Fill = Callable[[range, NDArray[np.uint8]], dict[int, str]]
"""Renders the images of these rows into black views (n, K, S, S, 3). Returns why a row stays black,
by its number."""

TABLE: Final = "table.json"
CHECKSUMS: Final = "checksums.u64"
_FORMAT: Final = "rented-teacher views"
_VERSION: Final = 1
_NUMBERS: Final = np.dtype("<u8")


class OpenedTable(NamedTuple):
    """A complete table, and why each row that is blank is blank."""

    table: ArchivedTable
    unreadable: dict[int, str]


class _Facts(NamedTuple):
    """Of one archive: the checksums of its views (n, K), and why rows of it are blank."""

    checksums: NDArray[np.uint64]
    unreadable: dict[int, str]

    def content(self) -> bytes:
        checksums = self.checksums.astype(_NUMBERS).tobytes().hex()
        return json.dumps({"checksums": checksums, "unreadable": self.unreadable}).encode()

    @classmethod
    def parse(cls, content: bytes, shape: tuple[int, int]) -> _Facts:
        """Raises ValueError, KeyError or TypeError for what `content` did not return."""
        read = json.loads(content)
        checksums = np.frombuffer(bytes.fromhex(read["checksums"]), _NUMBERS)
        return cls(
            checksums.astype(np.uint64).reshape(shape),
            {int(row): str(reason) for row, reason in read["unreadable"].items()},
        )


def opened_table(folder: ArchiveFolder, layout: Layout, fill: Fill) -> OpenedTable:
    """The table of this folder. If it is not complete, what is missing is rendered first.

    A killed run leaves whole archives, which the next one keeps. Raises DataError if a complete
    table is not what was rendered, as far as sizes tell, and BadInput if the folder cannot be
    used.
    """
    found = folder.sizes()
    if TABLE not in found:
        _render_missing(folder, layout, found, fill)
        found = folder.sizes()
    return _complete(folder, layout, found)


def _render_missing(
    folder: ArchiveFolder, layout: Layout, found: dict[str, int], fill: Fill
) -> None:
    checksums = np.zeros((layout.images, layout.views), np.uint64)
    unreadable: dict[int, str] = {}
    kept = {
        number: facts
        for number in range(layout.archives)
        if (facts := _kept(folder, layout, found, number)) is not None
    }
    folder.make(sum(map(layout.archive_bytes, set(range(layout.archives)) - kept.keys())))
    for number in range(layout.archives):
        facts = kept[number] if number in kept else _rendered(folder, layout, number, fill)
        rows = layout.rows(number)
        checksums[rows.start : rows.stop] = facts.checksums
        unreadable |= facts.unreadable
    content = checksums.astype(_NUMBERS).tobytes()
    folder.write(CHECKSUMS, content)
    described = {
        "format": _FORMAT,
        "version": _VERSION,
        "shape": layout.shape,
        "images_in_an_archive": layout.each,
        "checksums_sha256": hashlib.sha256(content).hexdigest(),
        "unreadable": unreadable,
    }
    folder.write(TABLE, json.dumps(described).encode())


def _kept(
    folder: ArchiveFolder, layout: Layout, found: dict[str, int], number: int
) -> _Facts | None:
    """The facts of an archive that an earlier run has written; None if it did not."""
    is_whole = found.get(archive_name(number)) == layout.archive_bytes(number)
    if not is_whole or _facts_name(number) not in found:
        return None
    try:
        shape = (len(layout.rows(number)), layout.views)
        return _Facts.parse(folder.read(_facts_name(number)), shape)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _rendered(folder: ArchiveFolder, layout: Layout, number: int, fill: Fill) -> _Facts:
    rows = layout.rows(number)
    content, pixels = layout.new_archive(number)
    unreadable = fill(rows, pixels)
    checksums = view_checksums(pixels.reshape(-1, layout.view_bytes))
    facts = _Facts(checksums.reshape(len(rows), layout.views), unreadable)
    folder.write(archive_name(number), content.tobytes())
    folder.write(_facts_name(number), facts.content())
    return facts


def _complete(folder: ArchiveFolder, expected: Layout, found: dict[str, int]) -> OpenedTable:
    def wrong(name: str, reason: str) -> DataError:
        return DataError(not_as_rendered(folder, name, reason))

    try:
        described: dict[str, Any] = json.loads(folder.read(TABLE))
        version = (described["format"], described["version"])
        each, shape = int(described["images_in_an_archive"]), tuple(described["shape"])
        sha256 = str(described["checksums_sha256"])
        unreadable = {int(row): str(why) for row, why in described["unreadable"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise wrong(TABLE, f"it cannot be read ({type(error).__name__})") from error
    if version != (_FORMAT, _VERSION):
        message = (
            f"{folder.address}/{TABLE} has format {version}, and this program reads "
            f"{(_FORMAT, _VERSION)}: name another folder with --pixels. Nothing was charged"
        )
        raise DataError(message)
    if shape != expected.shape or each < 1:
        raise wrong(TABLE, f"it has the shape {shape} instead of {expected.shape}")
    layout = Layout(images=expected.images, views=expected.views, size=expected.size, each=each)
    for number in range(layout.archives):
        name, size = archive_name(number), layout.archive_bytes(number)
        if (found_size := found.get(name)) is None:
            raise wrong(name, "it is missing")
        if found_size != size:
            raise wrong(name, f"it has {found_size:,} bytes instead of {size:,}")
    content = folder.read(CHECKSUMS) if CHECKSUMS in found else b""
    if hashlib.sha256(content).hexdigest() != sha256:
        raise wrong(CHECKSUMS, "its SHA-256 differs")
    checksums = np.frombuffer(content, _NUMBERS).astype(np.uint64)
    table = ArchivedTable(folder, layout, checksums.reshape(layout.images, layout.views))
    return OpenedTable(table, unreadable)


def _facts_name(number: int) -> str:
    return f"{number:06}.json"
