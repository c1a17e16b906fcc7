"""`--method auto`: chooses the method of each split, before anything is bought."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from student.console import Terminal
from student.data.image_set import ImageSet
from student.data.split import VALIDATION, Split
from student.evaluation.experiment import Experimenter
from student.evaluation.file_names import named
from student.evaluation.results import MethodResult
from student.options import Options, TrainingOptions
from student.selection.first_answers import HANDFUL, FirstAnswers
from student.selection.selection import DISTILLED, PLAIN, SOLVED, Selection, select


def what_auto_buys(options: TrainingOptions) -> str:
    """What `--method auto` may leave out of a plan, as a sentence."""
    solved = (
        f"auto buys this for {DISTILLED}, unless labels alone turn out to classify {SOLVED:.0%} of "
        f"source validation correctly: it then trains {PLAIN}, and buys the class texts alone"
    )
    if options.compare:
        return solved
    return (
        f"{solved}. It buys the first {HANDFUL} images alone, and trains {PLAIN} too if the "
        "teacher guesses their classes"
    )


def chosen_options(options: Options, selection: Selection | None) -> Options:
    """The options with the method that was chosen; the same if there was nothing to choose."""
    return options if selection is None else options.changed(method=selection.chosen)


def choose_methods(
    options: Options, scanned: ImageSet, terminal: Terminal
) -> Mapping[tuple[str, ...], Selection]:
    """Chooses the method of every split, and says why; none unless `--method auto` asks for it.

    Raises StudentError.
    """
    if not options.training.is_auto:
        return {}
    return {
        split.targets: choose_method(split, scanned, options, terminal) for split in scanned.splits
    }


def choose_method(
    split: Split, scanned: ImageSet, options: Options, terminal: Terminal
) -> Selection:
    """Chooses the method of this split, and says why. Raises StudentError."""
    folder = named(options.run.out / "selection", "+".join(split.targets) or "nothing held out")
    labelled = Experimenter(split, scanned, None, options).labelled()
    with terminal.bar("auto: labels alone") as update:
        selection = select(labelled, options.training, folder=folder, progress=update)
    terminal.say(selection.explanation)
    return selection


def without_guesses(
    selections: Mapping[tuple[str, ...], Selection], guesses: FirstAnswers, terminal: Terminal
) -> Mapping[tuple[str, ...], Selection]:
    """The choices, now that the teacher turned out to guess; says those that it changes."""
    changed = {at: replace(one, guesses=guesses) for at, one in selections.items()}
    for explanation in dict.fromkeys(
        changed[at].explanation for at, one in selections.items() if one.reads_images
    ):
        terminal.warn(explanation)
    return changed


def far_behind(selection: Selection | None, student: MethodResult) -> Selection | None:
    """The choice as it is after all where the student is far behind labels alone on source
    validation; None otherwise."""
    if selection is None or not selection.reads_images:
        return None
    correct = student.scores[VALIDATION].correct
    return replace(selection, distilled=correct) if selection.is_far_behind(correct) else None


def bought_with(
    options: Options, scanned: ImageSet, selections: Mapping[tuple[str, ...], Selection]
) -> tuple[Options, ImageSet]:
    """The options and the images of a purchase for every split: for the method that reads most, and
    only images of splits whose method reads their embeddings."""
    if not selections:
        return options, scanned
    reading = [split for split in scanned.splits if selections[split.targets].reads_images]
    if not reading:
        return options.changed(method=PLAIN), scanned
    return options.changed(method=DISTILLED), scanned.trained_on_by(reading)
