"""Train the embedded teacher, a small CLIP for emoji in ten styles.

    python -m tools.emoji.train_teacher
    python -m tools.emoji.train_teacher --leave-out-styles windows openmoji outline glyph
    python -m tools.emoji.train_teacher --weak

It is trained on the emoji marked `student` and `teacher` in the demo data, never on those marked
`nobody`. Training takes about 25 minutes on two cores, and a minute or two on a GPU. A killed run
resumes from its last checkpoint. Equal seeds on the same machine give equal weights. A teacher
trained with other options is a control: it is written to work/teachers/NAME, for
`teacher-server serve --model`.
"""

from pathlib import Path

from student.data.demo.lay_out import all_emoji
from tools.train_teacher.command import main
from tools.train_teacher.recipe import TeacherDataset

HOME = Path("teacher_server/embedded")


def emoji() -> TeacherDataset:
    """Return the demo data set; captions use the Unicode name of each emoji."""
    return TeacherDataset(
        name="emoji",
        data=Path("data/emoji"),
        names={e.stem: e.name for e in all_emoji()},
        steps=1000,
        weak_steps=150,
        script="tools.emoji.train_teacher",
    )


if __name__ == "__main__":
    main(emoji(), home=HOME)
