"""The images that are never trained on, from a table beside them."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path

from student.data.folder.csv_table import read_csv
from student.data.folder.names import nfc
from student.errors import BadInput

UNSEEN_FILE = "unseen.csv"
"""Lists images that are never trained on: columns `name` (of a file, or its stem) and `group`."""


def read_unseen(root: Path, images: Set[Path]) -> dict[str, str]:
    """The group of each name in the table; {} without a table.

    Raises BadInput for a table that cannot be read, and a row that has no group or names no image.
    """
    path = root / UNSEEN_FILE
    if not path.exists():
        return {}
    groups = {nfc(row["name"]): row["group"] for _, row in read_csv(path, ("name", "group"))}
    # Images of such rows would be trained on, which the file is meant to prevent.
    there = {name for image in images for name in (nfc(image.stem), nfc(image.name))}
    if lost := [name for name, group in groups.items() if not group or name not in there]:
        message = f"{path}: {', '.join(map(repr, lost[:5]))} has no group or names no image"
        raise BadInput(message)
    return groups
