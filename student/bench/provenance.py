"""Checks that rows are only compared with rows of the same images and the same teachers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from student.bench.constants import NO_TEACHER
from student.bench.rows import Row
from student.data.folder.image_folder import Catalogue
from student.errors import BadInput

_ELSEWHERE = "nothing was bought; use another --out, or move that file"


def check_images(earlier: Iterable[Row], path: Path, catalogue: Catalogue) -> None:
    """Raises BadInput if the images differ from those of the earlier rows of the data set."""
    now = catalogue.digest
    if any(row.data_sha256 != now for row in earlier):
        message = (
            f"{path} has results of other images than those in {catalogue.root} now, and "
            f"they cannot be compared: {_ELSEWHERE}"
        )
        raise BadInput(message)


def check_teacher(earlier: Iterable[Row], path: Path, teacher: str, fingerprint: str) -> None:
    """Raises BadInput if earlier rows have another fingerprint under this teacher's name."""
    known = {row.fingerprint for row in earlier if row.teacher == teacher}
    if known - {NO_TEACHER, fingerprint}:
        message = (
            f"{path} has results of another teacher ({', '.join(sorted(known))}) than the vendor "
            f"sells now ({fingerprint}), and they cannot be compared: {_ELSEWHERE}"
        )
        raise BadInput(message)
