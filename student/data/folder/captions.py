"""The captions of images without labels, from a table beside them: they only measure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection
from pathlib import Path

from student.data.folder.csv_table import read_csv
from student.data.folder.names import listed, nfc, shown_path
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
    rows = [(row["file"], row["caption"].strip()) for _, row in read_csv(path, ("file", "caption"))]
    image_of = _names(root, images)
    lost = [file for file, caption in rows if not caption or nfc(file) not in image_of]
    if lost:
        shown = listed([repr(file) for file in lost])
        message = (
            f"{path}: {shown} has no caption, or is not the path or the only image of this name "
            "below the folder. Nothing was bought; mend the table"
        )
        raise BadInput(message)
    captions: dict[Path, dict[str, None]] = defaultdict(dict)
    for file, caption in rows:
        captions[image_of[nfc(file)]][caption] = None
    return {image: tuple(texts) for image, texts in captions.items()}


def _names(root: Path, images: Collection[Path]) -> dict[str, Path]:
    """Each image by its path below the root, and by its file name where no other image has it."""
    count = Counter(nfc(image.name) for image in images)
    by_name = {nfc(image.name): image for image in images if count[nfc(image.name)] == 1}
    return by_name | {nfc(Path(shown_path(image, root)).as_posix()): image for image in images}
