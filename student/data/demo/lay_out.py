"""Writes the emoji as `root/<style>/<class>/<name>.png`, the DomainBed layout."""

import csv
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal, cast

from student.data.demo.styles import styles
from student.data.folder.unseen import UNSEEN_FILE

MARK = ".emoji-demo"  # a file in the demo data's folder, which a user's own folder does not have
Knower = Literal["student", "teacher", "nobody"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Emoji:
    """An emoji; `emoji.csv` fixes who may train on it."""

    codepoints: str
    name: str
    class_name: str
    known_to: Knower

    @property
    def stem(self) -> str:
        """The file name, the same in every style."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")


def all_emoji() -> list[Emoji]:
    """The 700-odd emoji of the 30 classes, in the order of the file."""
    lines = (files("student.data.demo") / "emoji.csv").read_text("utf-8").splitlines()
    return [
        Emoji(
            codepoints=row["codepoints"],
            name=row["name"],
            class_name=row["class"],
            known_to=cast("Knower", row["known_to"]),
        )
        for row in csv.DictReader(lines)
    ]


def lay_out(root: Path, *, progress: Callable[[str, int], None] = lambda *_: None) -> int:
    """Write every style's pictures and `unseen.csv`; returns the number of pictures.

    An existing picture is left as it is. `progress(style, pictures)` is called
    after each style. Raises BadInput where the wheels are missing.
    """
    emoji = all_emoji()
    written = 0
    for style, draw in styles().items():
        in_style = 0
        for symbol in emoji:
            path = root / style / symbol.class_name / f"{symbol.stem}.png"
            if not path.exists():
                image = draw(symbol.codepoints)
                if image is None:
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                # Not synced to disk: thousands of small files that can be written again.
                part = path.with_suffix(".part")
                image.save(part, format="PNG")
                part.replace(path)
            in_style += 1
        progress(style, in_style)
        written += in_style
    with (root / UNSEEN_FILE).open("w", newline="", encoding="utf-8") as out:
        rows = csv.writer(out, lineterminator="\n")
        rows.writerow(["name", "group"])
        groups = {"teacher": "known to the teacher only", "nobody": "known to nobody"}
        rows.writerows((e.stem, groups[e.known_to]) for e in emoji if e.known_to != "student")
    mark(root)
    return written


def mark(root: Path) -> None:
    """Mark this folder as the demo data."""
    (root / MARK).touch()


def is_demo_data(root: Path) -> bool:
    """Whether the folder is marked."""
    return (root / MARK).exists()
