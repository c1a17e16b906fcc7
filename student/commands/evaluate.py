"""`distill-client evaluate`: measures a finished student on a folder of labelled images."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from student.commands.purchase_options import OTHER_CLASSES, add_purchase_options
from student.commands.student_option import add_student_option
from student.errors import DataError
from student.options.section import user_path

if TYPE_CHECKING:
    from student.evaluation.measured_folder import MeasuredFolder


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command's options."""
    made = argparse.ArgumentParser(
        "distill-client evaluate",
        description=(
            "Measure a finished student on a folder of labelled images: accuracy with its 95% "
            "interval, mean confidence and calibration error on each domain, and the most frequent "
            "mistakes. Classes that the student does not know are left out and named, unless "
            "--new-classes buys their prompts."
        ),
    )
    made.add_argument(
        "--data",
        type=user_path,
        required=True,
        metavar="FOLDER",
        help="folder of images, FOLDER/<domain>/<class>/* or FOLDER/<class>/*; or a manifest, or a "
        "data set that datasets.save_to_disk wrote, of which all splits are measured",
    )
    made.add_argument(
        "--imagefolder",
        action="store_true",
        help="FOLDER is an imagefolder of Hugging Face (extra datasets)",
    )
    add_student_option(made)
    made.add_argument("--json", action="store_true", help="print one JSON object")
    new = made.add_argument_group("new classes")
    new.add_argument(
        "--new-classes",
        action="store_true",
        help="predict over all classes of the folder, instead of the student's own: the prompts "
        "that the cache lacks are bought, and nothing is trained",
    )
    add_purchase_options(new)
    return made


def main(arguments: list[str]) -> int:
    """Prints the accuracy on each domain; images that are not measured are named and counted.

    Raises BadInput, and with --new-classes what a purchase raises.
    """
    options = parser().parse_args(arguments)
    from student.data.folder.folder_tree import left_out_lines
    from student.data.folder.image_folder import discover
    from student.evaluation.measured_folder import measure_folder
    from student.inference.trained_student import load

    trained = load(options.student)
    if not options.new_classes:
        trained.require_classes()
    catalogue = discover(options.data, imagefolder=options.imagefolder)
    # For the classes that it was trained on, the student is its own answer.
    is_new = set(catalogue.classes) != set(trained.classes)
    if options.new_classes and (options.dry_run or is_new):
        from student.commands.new_classes import with_classes

        found = with_classes(trained, catalogue.classes, options)
        if found is None:
            return 0
        trained = found
        print(f"warning: {OTHER_CLASSES}", file=sys.stderr)
    for note in (*catalogue.facts, *catalogue.notes):
        print(f"note: {note}", file=sys.stderr)
    for line in left_out_lines(catalogue.root, catalogue.left_out):
        print(f"warning: {line}", file=sys.stderr)
    measured = measure_folder(trained, catalogue)
    for line in measured.not_measured:
        print(f"warning: not measured: {line}", file=sys.stderr)
    if options.json:
        print(json.dumps(measured.as_dict()))
    else:
        _show(measured, set(trained.meta.get("sources", ())))
    return DataError.exit_code if measured.unreadable else 0


def _show(measured: MeasuredFolder, sources: set[str]) -> None:
    from student.console import terminal

    screen = terminal()
    columns = ("domain", "trained on", "images", "accuracy, %", "confidence, %", "its error, %")
    rows = [
        [
            name,
            "yes" if name in sources else "",
            f"{part.count.images:,}",
            str(part.count),
            f"{100 * part.confidence:.1f}",
            "" if part.calibration_error is None else f"{100 * part.calibration_error:.1f}",
        ]
        for name, part in measured.parts.items()
    ]
    screen.table(columns, rows)
    screen.say("accuracy ± half its 95% interval; mean confidence and its calibration error")
    if measured.mistakes:
        screen.heading("most frequent mistakes")
        screen.table(
            ("class", "predicted", "images"),
            [[truth, answer, f"{count:,}"] for (truth, answer), count in measured.mistakes],
        )
