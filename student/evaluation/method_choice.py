"""`--method auto`: chooses the method of a split by the first images that were bought."""

from __future__ import annotations

from student.console import Terminal
from student.data.image_set import ImageSet
from student.data.split import Split
from student.embeddings.lookup import TeacherEmbeddings
from student.evaluation.experiment import Experimenter
from student.evaluation.file_names import named
from student.options import Options
from student.selection.selection import Selection, select


def chosen_options(options: Options, selection: Selection | None) -> Options:
    """The options with what was chosen; the same if there was nothing to choose."""
    return options if selection is None else options.changed(**selection.settings)


def choose_method(
    split: Split,
    scanned: ImageSet,
    paid: TeacherEmbeddings,
    options: Options,
    terminal: Terminal,
) -> Selection:
    """Chooses the method of this split by these embeddings, and prints a table of what it found.

    Raises StudentError.
    """
    folder = named(options.run.out / "selection", "+".join(split.targets) or "nothing held out")
    labelled = Experimenter(split, scanned, paid, options).labelled()
    with terminal.bar("choosing a method") as update:
        selection = select(
            labelled,
            options.training,
            folder=folder,
            progress=lambda name, done, total: update(done, total, name),
        )
    terminal.table(*selection.rows())
    return selection
