"""`--method auto`: chooses the method of a split, with what was bought or before the rest is."""

from __future__ import annotations

from collections.abc import Sequence

from student.console import Terminal
from student.data.image_set import ImageSet
from student.data.split import Split
from student.embeddings.lookup import TeacherEmbeddings
from student.evaluation.experiment import Experimenter
from student.evaluation.file_names import named
from student.options import Options
from student.selection.candidates import BEFORE_PURCHASE, Candidate, candidates
from student.selection.selection import Selection, select
from student.training.methods import reads_images


def chosen_options(options: Options, selection: Selection | None) -> Options:
    """The options with the method that was chosen; the same if there was nothing to choose."""
    if selection is None:
        return options
    chosen = selection.chosen
    return options.changed(method=chosen.method, **chosen.changes)


def choose_method(
    split: Split,
    scanned: ImageSet,
    paid: TeacherEmbeddings,
    options: Options,
    terminal: Terminal,
) -> Selection:
    """Chooses the method of this split by what was bought, and prints how. Raises StudentError."""
    found = candidates(options.training)
    selection = _select(split, scanned, paid, options, terminal, found, "selection")
    terminal.say(selection.explanation)
    if not reads_images(selection.chosen.options(options.training)):
        terminal.say(
            f"{selection.chosen.name} reads no image embedding: these short runs advise against "
            "buying more for such images"
        )
    return selection


def choose_before_purchase(
    scanned: ImageSet, paid: TeacherEmbeddings, options: Options, terminal: Terminal
) -> dict[tuple[str, ...], Selection] | None:
    """The method of each split, by a part of the images; None if the others should be bought.

    They should be if image embeddings help in any split, or if nothing could be compared. Raises
    StudentError.
    """
    made: dict[tuple[str, ...], Selection] = {}
    for split in scanned.splits:
        selection = _select(
            split, scanned, paid, options, terminal, BEFORE_PURCHASE, "selection-before-purchase"
        )
        if not selection.measured or reads_images(selection.chosen.options(options.training)):
            return None
        made[split.targets] = selection
    return made


def _select(
    split: Split,
    scanned: ImageSet,
    paid: TeacherEmbeddings,
    options: Options,
    terminal: Terminal,
    found: Sequence[Candidate],
    folder: str,
) -> Selection:
    place = "+".join(split.targets) or "nothing held out"
    labelled = Experimenter(split, scanned, paid, options).labelled()
    with terminal.bar("choosing a method") as update:
        selection = select(
            labelled,
            options.training,
            found=found,
            folder=named(options.run.out / folder, place),
            progress=lambda name, done, total: update(done, total, name),
        )
    if selection.measured:
        terminal.table(*selection.rows())
    return selection
