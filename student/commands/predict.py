"""`distill-client predict`: classifies images with a finished student."""

from __future__ import annotations

import argparse
from pathlib import Path

from student.options.section import user_path


def main(arguments: list[str]) -> int:
    """Prints one line for each image. Raises BadInput and DataError."""
    parser = argparse.ArgumentParser(
        "distill-client predict",
        description="Classify images with a finished student; no vendor is needed.",
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
    options = parser.parse_args(arguments)
    from student.evaluation.predict import describe, predict_images

    for prediction in predict_images(options.images, options.student):
        print(describe(prediction, as_json=options.json))
    return 0
