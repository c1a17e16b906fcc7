"""Where rendered views are kept: whether it can be used, and has room for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from student.data.archives.archive_folder import ArchiveFolder
from student.data.archives.layout import Layout
from student.doctor.finding import Finding, ok, warning
from student.doctor.folders import usable_folder
from student.errors import BadInput
from student.options import Options
from student.options.folders import free_bytes

_TRIAL = "write-test"
_CONTENT = b"01"


def address(options: Options) -> Iterator[Finding]:
    """Whether --pixels can be written and read, where it is given.

    In a store on the network, a file of two bytes is written, read in part and deleted: nothing
    less tells whether the key may do so.
    """
    if options.data.pixels is None:
        return
    folder = ArchiveFolder(options.data.pixels)
    if folder.on_disk is not None:
        yield from usable_folder("--pixels", folder.on_disk)
        return
    try:
        folder.write(_TRIAL, _CONTENT)
    except BadInput as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        yield warning(
            "store, --pixels",
            f"{folder.address} is not there yet; a run makes it, if its key may do so",
            "make the folder or the bucket, or correct the address",
        )
        return
    if folder.ranges([_TRIAL], [1], [2]) != [_CONTENT[1:]]:
        message = f"--pixels {folder.address}: a part of a file cannot be read by itself"
        raise BadInput(message)
    try:
        folder.delete(_TRIAL)
    except BadInput:
        yield warning(
            "store, --pixels",
            f"{folder.address} can be written and read, but {_TRIAL}, which this command wrote "
            "there, cannot be deleted",
            "delete it if it is in the way; a run deletes nothing",
        )
        return
    yield ok("store, --pixels", f"{folder.address} can be written and read")


def room(options: Options, images: int) -> Iterator[Finding]:
    """Whether the disk has room for the views of so many images. A store has no known room."""
    data = options.data
    where: Path | None = options.run.out
    if data.pixels is not None:
        try:
            where = ArchiveFolder(data.pixels).on_disk
        except BadInput:
            return  # `address` says so
    # The clean view is kept once more for images that are measured on.
    layout = Layout.of(images=images, views=data.views + 1, size=data.image_size)
    needed = images * layout.views * layout.member_bytes
    views = f"rendered views take at most {needed / 2**30:,.1f} GiB"
    if where is None:
        yield ok("views", f"{views} in {data.pixels}; the room there is not known")
        return
    free = free_bytes(where)
    found = f"{views} in {where}, whose disk has {free / 2**30:,.1f} GiB free"
    if free < needed:
        yield warning(
            "views",
            found,
            "name another disk or a store with --pixels, unless most of them are there already",
        )
    else:
        yield ok("views", found)
