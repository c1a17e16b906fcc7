"""Refuses an output folder that cannot be written or lacks room, before anything is bought."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from student.errors import BadInput
from student.options.options import Options

_LEAST_ROOM = 2**20  # of an empty cache, or of a report; what a run needs beyond is checked later


def require_folders(options: Options) -> None:
    """Refuses a --data that cannot be read, and an --out or a --cache that cannot be written
    or has no room at all.

    Makes nothing. Raises BadInput.
    """
    data = options.data.data
    try:
        if data.is_file():
            data.open("rb").close()
        else:
            next(data.iterdir(), None)
    except OSError as error:
        message = f"--data {data} cannot be read ({error.strerror})"
        raise BadInput(message) from error
    for option, folder in (("--out", options.run.out), ("--cache", options.purchase.cache)):
        require_writable(folder, option)
        require_room(folder, _LEAST_ROOM, option)


def require_writable(folder: Path, option: str) -> None:
    """Refuses a folder that is no folder, or that cannot be made or written. Makes nothing.

    Raises BadInput, naming the option.
    """
    place = _nearest(folder)
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"\0")
    except OSError as error:
        reason = f"{place} {'cannot be written' if place.is_dir() else 'is not a folder'}"
        message = f"{option} {folder}: {reason} ({error.strerror}). Nothing was bought"
        raise BadInput(message) from error


def require_room(folder: Path, needed: int, option: str) -> None:
    """Refuses a folder on a disk with fewer free bytes than `needed`. Raises BadInput."""
    free = free_bytes(folder)
    if free < needed:
        message = (
            f"{option} {folder}: this needs at least {_mebibytes(needed)} on the disk, which has "
            f"{_mebibytes(free)} left. Nothing was bought; make room, or name another folder"
        )
        raise BadInput(message)


def free_bytes(folder: Path) -> int:
    """The free bytes of the disk that a folder is on, or will be made on."""
    return shutil.disk_usage(_nearest(folder)).free


def _nearest(folder: Path) -> Path:
    """The folder itself, or the nearest one above it that exists."""
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    return place


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB"
