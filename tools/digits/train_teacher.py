"""Train a small CLIP on digits in eight looks and write it to work/teachers/digits.

    python -m tools.digits.lay_out
    python -m tools.digits.train_teacher
    teacher-server serve --model work/teachers/digits

Figures marked `nobody` are never trained on.
"""

from pathlib import Path

from tools.digits.figures import all_figures
from tools.train_teacher.command import main
from tools.train_teacher.recipe import TeacherDataset


def digits() -> TeacherDataset:
    """Return the digits data set; captions name the digit and its typeface or kind."""
    return TeacherDataset(
        name="digits",
        data=Path("data/digits"),
        names={f.stem: f.name for f in all_figures()},
        steps=300,
        weak_steps=40,
        script="tools.digits.train_teacher",
    )


if __name__ == "__main__":
    main(digits())
