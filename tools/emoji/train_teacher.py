"""Trains the embedded teacher: a small CLIP that knows emoji in ten styles.

    python -m tools.emoji.train_teacher
    python -m tools.emoji.train_teacher --leave-out-styles windows openmoji outline glyph
    python -m tools.emoji.train_teacher --weak

It learns the emoji marked `student` and `teacher` in the demo data; those marked `nobody` are never
shown. About 25 minutes on two cores, a minute or two on a GPU. A killed run goes on from its last
checkpoint; the same seed on the same machine gives the same weights. A teacher that was trained in
another way (the controls) goes to work/teachers/NAME, for `teacher-server serve --model`.
"""

from pathlib import Path

from student.data.demo.lay_out import all_emoji
from tools.train_teacher.command import main
from tools.train_teacher.recipe import Subject

HOME = Path("teacher_server/embedded")


def emoji() -> Subject:
    """The demo data, each emoji called by its name."""
    return Subject(
        name="emoji",
        data=Path("data/emoji"),
        names={e.stem: e.name for e in all_emoji()},
        steps=1000,
        weak_steps=150,
        script="tools.emoji.train_teacher",
    )


if __name__ == "__main__":
    main(emoji(), home=HOME)
