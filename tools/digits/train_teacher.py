"""Trains a small CLIP that knows digits in eight looks, into work/teachers/digits.

    python -m tools.digits.lay_out
    python -m tools.digits.train_teacher
    teacher-server serve --model work/teachers/digits

The typefaces, hands and displays that nobody knows are never shown to it.
"""

from pathlib import Path

from tools.digits.figures import all_figures
from tools.train_teacher.command import main
from tools.train_teacher.recipe import Subject


def digits() -> Subject:
    """The digits, each called by its class and its typeface, hand or display."""
    return Subject(
        name="digits",
        data=Path("data/digits"),
        names={f.stem: f.name for f in all_figures()},
        steps=300,
        weak_steps=40,
        script="tools.digits.train_teacher",
    )


if __name__ == "__main__":
    main(digits())
