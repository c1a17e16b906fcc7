"""`distill-client predict`: classifies images with a finished student."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cache.records.money import dollars
from student.errors import DataError
from student.options.section import user_path

if TYPE_CHECKING:
    from student.inference.trained_student import TrainedStudent

_OTHER_CLASSES = (
    "the confidence was calibrated on the student's own classes, not on those of --classes: it may "
    "be far too high or too low"
)
_UNCALIBRATED = (
    "{}/meta.json has no temperature: the confidence of this student is not calibrated, and often "
    "far too high. Running the command that made it again adds one; nothing is paid twice."
)


def main(arguments: list[str]) -> int:
    """Prints one line for each image; a file that is no image is named, and the rest follows.

    Raises BadInput, and with --classes what a purchase raises."""
    parser = argparse.ArgumentParser(
        "distill-client predict",
        description=(
            "Classify images with a finished student; no vendor is needed. Prints the image, its "
            "class and the confidence, then the next two classes with theirs. The confidence is "
            "calibrated on source validation: on images of another domain it may be too high."
        ),
    )
    parser.add_argument("images", nargs="+", type=user_path, metavar="IMAGE")
    parser.add_argument(
        "--student",
        type=user_path,
        default=Path("runs/student"),
        metavar="FOLDER",
        help="output folder of a finished run (default: runs/student)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")
    parser.add_argument(
        "--abstain",
        type=_share,
        default=0.0,
        metavar="CONFIDENCE",
        help='answer "unsure" below this confidence, from 0 to 1 (default: 0, never)',
    )
    _add_purchase_options(parser.add_argument_group("new classes"))
    options = parser.parse_args(arguments)
    from student.inference.predict import describe, predictions
    from student.inference.trained_student import load

    trained = load(options.student)
    if options.classes is not None:
        found = _with_classes(trained, options)
        if found is None:
            return 0
        trained = found
    if not trained.is_calibrated:
        why = _OTHER_CLASSES if options.classes else _UNCALIBRATED.format(options.student)
        print(f"warning: {why}", file=sys.stderr)
    refused = 0

    def refuse(error: DataError) -> None:
        nonlocal refused
        refused += 1
        print(f"error: {error}", file=sys.stderr)

    for prediction in predictions(trained, options.images, on_error=refuse):
        print(describe(prediction, as_json=options.json, abstain=options.abstain))
    return DataError.exit_code if refused else 0


def _add_purchase_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--classes",
        metavar="NAME,NAME,…",
        help="predict over these classes instead of the student's own: the prompts that the cache "
        "lacks are bought, and nothing is trained",
    )
    group.add_argument(
        "--budget",
        type=int,
        metavar="QUERIES",
        help="maximum total queries to pay for, over the lifetime of the cache",
    )
    group.add_argument(
        "--cache",
        type=user_path,
        metavar="FOLDER",
        help="cache with the paid answers (default: the one that the student was made from)",
    )
    group.add_argument(
        "--vendor",
        metavar="URL",
        help="base URL of the vendor (default: TEACHER_URL, or http://127.0.0.1:8000)",
    )
    group.add_argument(
        "--key-file",
        type=user_path,
        metavar="FILE",
        help="file with the API key; without it, TEACHER_API_KEY is read",
    )
    group.add_argument(
        "--dry-run", action="store_true", help="print what would be bought, then stop"
    )


def _with_classes(trained: TrainedStudent, options: argparse.Namespace) -> TrainedStudent | None:
    """The student with the classes that were asked for; None after a dry run."""
    from student.commands.new_classes import NewClasses, class_list
    from student.options.purchase import PurchaseOptions
    from student.options.section import build

    stored = trained.meta.get("settings", {}).get("cache")
    given = {
        "budget": options.budget,
        "cache": options.cache or stored,
        "vendor": options.vendor or os.environ.get("TEACHER_URL"),
        "key_file": options.key_file,
    }
    purchase = build(PurchaseOptions, {k: v for k, v in given.items() if v is not None})
    classes = class_list(options.classes)
    new = NewClasses(trained=trained, classes=classes, options=purchase)
    missing = new.missing()
    if missing:
        plan = new.plan(missing)
        for label, figure in plan.describe():
            print(f"{label}: {figure}", file=sys.stderr)
    if options.dry_run:
        print(f"dry run: nothing was bought ({len(missing)} prompts to buy)", file=sys.stderr)
        return None
    if missing:
        summary = new.buy(plan, missing)
        cost = dollars(summary.cost_micro_usd)
        print(f"bought {summary.units} queries, {cost}", file=sys.stderr)
    return new.student()


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0.0 <= share <= 1.0:
        message = f"a confidence is a number from 0 to 1, not {text}"
        raise argparse.ArgumentTypeError(message)
    return share
