"""The options of commands that may buy prompts for a finished student."""

from __future__ import annotations

import argparse

from student.options.section import user_path

OTHER_CLASSES = (
    "the confidence was calibrated on the student's own classes, not on those of --classes: it may "
    "be far too high or too low"
)


def add_purchase_options(group: argparse._ArgumentGroup) -> None:
    """Add the options of a command that may buy prompts for a finished student."""
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
        help="base URL of the vendor (default: TEACHER_URL, or http://127.0.0.1:8000; over another "
        "wire than native, the vendor that the student was bought from)",
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
