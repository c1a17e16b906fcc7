"""An image whose bytes lie in a data set of `datasets`, and in no file of its own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from student.errors import BadInput

MISSING = "{}: a data set of Hugging Face needs datasets: pip install 'rented-teacher[datasets]'"


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedImage:
    """Where the bytes are: the row of a split ("" for a data set without splits)."""

    folder: Path
    split: str
    column: str
    row: int

    def read_bytes(self) -> bytes:
        """The file as it was put into the data set, read from the mapped table."""
        stored: bytes = open_saved(self.folder, self.column)[self.split][self.row][self.column][
            "bytes"
        ]
        return stored


@lru_cache(maxsize=1)
def open_saved(folder: Path, column: str) -> dict[str, Any]:
    """Each split of what `save_to_disk` wrote, with this column as it is stored, not decoded.

    Raises BadInput without `datasets`, and for a folder that it cannot open.
    """
    sets = load_saved(folder)
    import datasets

    return {
        name: one.cast_column(column, datasets.Image(decode=False)) for name, one in sets.items()
    }


def load_saved(folder: Path) -> dict[str, Any]:
    """Each split of what `save_to_disk` wrote; a data set without splits is "".

    Raises BadInput, as `open_saved`.
    """
    try:
        import datasets
    except ImportError as error:
        raise BadInput(MISSING.format(folder)) from error
    try:
        found = datasets.load_from_disk(str(folder))
    # A broken folder fails as Arrow, JSON or the file system has it.
    except Exception as error:
        message = f"{folder} cannot be opened as a data set: {error}. Nothing was bought"
        raise BadInput(message) from error
    return dict(found) if isinstance(found, datasets.DatasetDict) else {"": found}
