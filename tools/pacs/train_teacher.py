"""Train a small CLIP on half of PACS and write it to work/teachers/pacs.

    python -m tools.pacs.lay_out --pacs FOLDER
    python -m tools.pacs.train_teacher
    teacher-server serve --model work/teachers/pacs

It is trained on the images with an even digest of all four domains, with class names as captions:
PACS has no others.
"""

from pathlib import Path

from tools.pacs.lay_out import TEACHER
from tools.train_teacher.command import main
from tools.train_teacher.recipe import TeacherDataset

DATA = Path("data") / TEACHER


def pacs() -> TeacherDataset:
    """Return the teacher's half of PACS; a caption names the class."""
    return TeacherDataset(
        name="pacs",
        data=DATA,
        names={path.stem: path.parent.name for path in sorted(DATA.glob("*/*/*"))},
        steps=300,
        weak_steps=40,
        script="tools.pacs.train_teacher",
    )


if __name__ == "__main__":
    main(pacs())
