"""File names that are made of a user's words: readable, and never too long for a file system."""

from __future__ import annotations

import hashlib
import os.path
from collections.abc import Sequence
from pathlib import Path

from student.errors import BadInput

# Most file systems take 255 bytes; a file that is being written has a longer name for a moment.
_MOST_BYTES = 200
_PREFIX_BYTES = 80


def named(folder: Path, name: str) -> Path:
    """The file or folder of this name in `folder`.

    A name of more than 200 bytes is cut, and a digest of the whole name follows, unless version 0.1
    has made a file of the whole name.
    """
    path = folder / name
    encoded = name.encode()
    if len(encoded) <= _MOST_BYTES or os.path.exists(path):  # noqa: PTH110 # not of too long names
        return path
    start = encoded[:_PREFIX_BYTES].decode(errors="ignore").replace("/", "_")
    return folder / f"{start}~{hashlib.sha256(encoded).hexdigest()[:16]}"


def require_no_other_student(out: Path, *, of: int) -> None:
    """Refuses a folder with a student where this run writes several, to folders below it.

    Other commands would use the older one. Raises BadInput.
    """
    if of > 1 and (out / "meta.json").exists():
        message = (
            f"--out {out} has the student of another run, and this run writes {of} students to "
            "folders below it: name another --out. Nothing was bought"
        )
        raise BadInput(message)


def student_folder(out: Path, targets: Sequence[str], *, of: int) -> Path:
    """Where the student goes for which these domains are held out: to `out`, or below it if it is
    one of several."""
    return out if of == 1 else named(out, "+".join(targets))
