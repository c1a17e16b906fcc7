"""Trains a small CLIP that knows digits in eight looks, into work/teachers/digits.

    python -m examples.digits.lay_out
    python -m examples.digits.train_teacher
    teacher-server serve --model work/teachers/digits

The typefaces, hands and displays that nobody knows are never shown to it.
"""

from pathlib import Path

from examples.digits.figures import all_figures
from examples.teacher.command import main
from examples.teacher.recipe import Subject


def digits() -> Subject:
    """The digits, each called by its class and its typeface, hand or display."""
    return Subject(
        name="digits",
        data=Path("data/digits"),
        names={f.stem: f.name for f in all_figures()},
        steps=300,
        weak_steps=40,
        script="examples.digits.train_teacher",
    )


if __name__ == "__main__":
    main(digits())
