"""The captions of images without labels, from a table beside them: they only measure."""

from __future__ import annotations

import csv
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection
from pathlib import Path

from student.data.folder.names import listed
from student.errors import BadInput

CAPTIONS_FILE = "captions.csv"
"""Columns `file` (a path below the folder, or a file name that no other image has) and `caption`;
an image may have several rows."""


def read_captions(root: Path, images: Collection[Path]) -> dict[Path, tuple[str, ...]]:
    """The captions of each image that has any, in the order of the table; {} without a table.

    Raises BadInput for a table that cannot be read, a row without a caption, and a file that is not
    one of the images.
    """
    path = root / CAPTIONS_FILE
    if not path.exists():
        return {}
    try:
        # utf-8-sig: spreadsheets write a byte order mark before the first column's name.
        with path.open(newline="", encoding="utf-8-sig") as source:
            reader = csv.DictReader(source)
            if not {"file", "caption"} <= set(reader.fieldnames or ()):
                message = f"{path} needs the columns file and caption"
                raise BadInput(message)
            rows = [(row["file"] or "", (row["caption"] or "").strip()) for row in reader]
    except (UnicodeError, csv.Error, OSError) as error:
        message = f"{path} is not a table in UTF-8: {error}"
        raise BadInput(message) from error
    image_of = _names(root, images)
    lost = [file for file, caption in rows if not caption or _nfc(file) not in image_of]
    if lost:
        shown = listed([repr(file) for file in lost])
        message = (
            f"{path}: {shown} has no caption, or is not the path or the only image of this name "
            "below the folder. Nothing was bought; mend the table"
        )
        raise BadInput(message)
    captions: dict[Path, dict[str, None]] = defaultdict(dict)
    for file, caption in rows:
        captions[image_of[_nfc(file)]][caption] = None
    return {image: tuple(texts) for image, texts in captions.items()}


def _names(root: Path, images: Collection[Path]) -> dict[str, Path]:
    """Each image by its path below the root, and by its file name where no other image has it."""
    count = Counter(_nfc(image.name) for image in images)
    by_name = {_nfc(image.name): image for image in images if count[_nfc(image.name)] == 1}
    return by_name | {_nfc(image.relative_to(root).as_posix()): image for image in images}


def _nfc(name: str) -> str:
    # A system may store the name of a file decomposed, where the table has it composed.
    return unicodedata.normalize("NFC", name)
