"""Reads the small CSV tables that a user writes beside the images."""

from __future__ import annotations

import csv
from collections.abc import Collection
from pathlib import Path

from student.data.folder.names import listed
from student.errors import BadInput


def read_csv(
    path: Path, needed: Collection[str], *, allowed: Collection[str] | None = None
) -> list[tuple[int, dict[str, str]]]:
    """The rows, each with the number of its line; a cell that a row lacks is "".

    `allowed` are the columns beside those that are needed; None allows any. Raises BadInput for a
    file that is no CSV in UTF-8, for other columns, and for a row with more cells than columns.
    """
    try:
        # utf-8-sig: spreadsheets write a byte order mark before the first column's name.
        with path.open(newline="", encoding="utf-8-sig") as source:
            reader = csv.DictReader(source)
            require_columns(path, reader.fieldnames or (), needed, allowed)
            rows = [(reader.line_num, row) for row in reader]
    except (UnicodeError, csv.Error, OSError) as error:
        message = f"{path} is not a table in UTF-8: {error}"
        raise BadInput(message) from error
    if long := [str(line) for line, row in rows if any(row.pop(None, ()))]:
        message = (
            f"{path}: line {listed(long)} has more cells than there are columns (a name with a "
            "comma is written in quotes). Nothing was bought"
        )
        raise BadInput(message)
    return [(line, {name: cell or "" for name, cell in row.items()}) for line, row in rows]


def require_columns(
    path: Path, there: Collection[str], needed: Collection[str], allowed: Collection[str] | None
) -> None:
    """Raises BadInput for a column that is missing, unknown or there twice."""
    asked = " and ".join(needed)
    if not set(needed) <= set(there):
        found = listed(list(there)) or "none"
        message = f"{path} needs the columns {asked}; it has {found}. Nothing was bought"
        raise BadInput(message)
    if allowed is None:
        return
    known = {*needed, *allowed}
    names = list(there)
    if wrong := [name for name in names if name not in known or names.count(name) > 1]:
        message = (
            f"{path} has the column {listed([repr(name) for name in wrong])}, unknown or twice; it "
            f"may have {', '.join([*needed, *allowed])}. Nothing was bought"
        )
        raise BadInput(message)
