"""`distill-client predict`: classifies images with a finished student."""

from __future__ import annotations

import argparse
import sys

from student.commands.purchase_options import OTHER_CLASSES, add_purchase_options
from student.commands.student_option import add_student_option
from student.errors import DataError
from student.options.section import user_path

_UNCALIBRATED = (
    "{}/meta.json has no temperature: the confidence of this student is not calibrated, and often "
    "far too high. Running the command that made it again adds one; nothing is paid twice."
)


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command's options."""
    made = argparse.ArgumentParser(
        "distill-client predict",
        description=(
            "Classify images with a finished student; no vendor is needed. Prints the image, its "
            "class and the confidence, then the next two classes with theirs. The confidence is "
            "calibrated on source validation: on images of another domain it may be too high."
        ),
    )
    made.add_argument("images", nargs="+", type=user_path, metavar="IMAGE")
    add_student_option(made)
    made.add_argument("--json", action="store_true", help="print one JSON object per line")
    made.add_argument(
        "--abstain",
        type=_share,
        default=0.0,
        metavar="CONFIDENCE",
        help='answer "unsure" below this confidence, from 0 to 1 (default: 0, never)',
    )
    new = made.add_argument_group("new classes")
    new.add_argument(
        "--classes",
        metavar="NAME,NAME,…",
        help="predict over these classes instead of the student's own: the prompts that the cache "
        "lacks are bought, and nothing is trained",
    )
    add_purchase_options(new)
    return made


def main(arguments: list[str]) -> int:
    """Prints one line for each image; a file that is no image is named, and the rest follows.

    Raises BadInput, and with --classes what a purchase raises."""
    options = parser().parse_args(arguments)
    from student.inference.predict import describe, predictions
    from student.inference.trained_student import load

    trained = load(options.student)
    if options.classes is not None:
        from student.commands.new_classes import class_list, with_classes

        names = class_list(options.classes)
        # For the classes that it was trained on, the student is its own answer.
        if options.dry_run or set(names) != set(trained.classes):
            found = with_classes(trained, names, options)
            if found is None:
                return 0
            trained = found
    trained.require_classes()
    if not trained.is_calibrated:
        why = OTHER_CLASSES if options.classes else _UNCALIBRATED.format(options.student)
        if not trained.meta["classes"]:
            why = "this student was trained without labels: its confidence is not calibrated"
        print(f"warning: {why}", file=sys.stderr)
    refused = 0

    def refuse(error: DataError) -> None:
        nonlocal refused
        refused += 1
        print(f"error: {error}", file=sys.stderr)

    for prediction in predictions(trained, options.images, on_error=refuse):
        print(describe(prediction, as_json=options.json, abstain=options.abstain))
    return DataError.exit_code if refused else 0


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0.0 <= share <= 1.0:
        message = f"a confidence is a number from 0 to 1, not {text}"
        raise argparse.ArgumentTypeError(message)
    return share
