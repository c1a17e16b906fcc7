"""The folders that a run writes into: whether they can be written, and the room on their disks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from student.doctor.finding import Finding, ok, warning
from student.options import Options
from student.options.folders import free_bytes, require_room, require_writable

_LEAST_ROOM = 2**30  # bytes: a run of ten thousand images fits


def folders(options: Options) -> Iterator[Finding]:
    """Whether the output folder and the cache can be written, and the room on their disks."""
    for name, folder in (("--out", options.run.out), ("--cache", options.purchase.cache)):
        yield from usable_folder(name, folder)


def usable_folder(option: str, folder: Path) -> Iterator[Finding]:
    """Whether the folder of an option can be written, and the room on its disk."""
    require_writable(folder, option)
    require_room(folder, 2**20, option)
    free = free_bytes(folder)
    room = f"{folder}: {free / 2**30:,.1f} GiB free"
    if free < _LEAST_ROOM:
        yield warning(f"disk, {option}", room, "make room, or name a folder on another disk")
    else:
        yield ok(f"disk, {option}", room)
