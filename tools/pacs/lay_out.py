"""Write the folders of the PACS evidence from a copy of PACS in `domain/class/*`.

    python -m tools.pacs.lay_out --pacs FOLDER --out data

An image belongs to the teacher's half if its SHA-256 is even. The teacher is trained on that half
of every domain (`pacs-teacher`). In `pacs-DOMAIN` the held-out domain is in two folders: `DOMAIN`
has the other half, which the teacher never saw, and `DOMAIN-seen` the teacher's half. The other
domains are whole.
"""

import argparse
import os
from pathlib import Path

from student.data.folder.image_folder import Catalogue, Item, discover

TEACHER = "pacs-teacher"
DOMAINS = ("art_painting", "cartoon", "photo", "sketch")
SEEN = "-seen"


def is_teachers(item: Item) -> bool:
    """Return whether the teacher is trained on this image: its digest is even."""
    return int(item.digest, 16) % 2 == 0


def places(item: Item) -> list[Path]:
    """Return the paths of an image below the folder that is written, in every data set."""
    # No two images may have one name: a teacher takes images of one name for one concept.
    name = f"{item.domain}-{item.class_name}-{item.path.name}"
    teachers = is_teachers(item)
    found = [Path(TEACHER, item.domain, item.class_name, name)] if teachers else []
    for held_out in DOMAINS:
        half = SEEN if teachers and item.domain == held_out else ""
        found.append(Path(f"pacs-{held_out}", item.domain + half, item.class_name, name))
    return found


def lay_out(catalogue: Catalogue, out: Path) -> int:
    """Write every folder as hard links, or copies on another file system; return the images."""
    for item in catalogue.items:
        for path in places(item):
            target = out / path
            if target.exists():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_suffix(".part")
            part.unlink(missing_ok=True)
            try:
                os.link(item.path, part)
            except OSError:
                part.write_bytes(item.path.read_bytes())
            part.replace(target)
    return len(catalogue.items)


def main() -> None:
    """Write the data sets."""
    parser = argparse.ArgumentParser(description="Lay out PACS for the evidence.")
    parser.add_argument("--pacs", type=Path, required=True, help="PACS, in domain/class/*")
    parser.add_argument(
        "--out", type=Path, default=Path("data"), help="folder to write to (default: %(default)s)"
    )
    options = parser.parse_args()
    print(f"{lay_out(discover(options.pacs), options.out)} images in {options.out}/pacs-*")


if __name__ == "__main__":
    main()
