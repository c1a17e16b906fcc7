"""The option that names a finished student, of every command that uses one."""

from __future__ import annotations

import argparse
from pathlib import Path

from student.options.section import user_path


def add_student_option(parser: argparse.ArgumentParser) -> None:
    """Add --student, the output folder of a finished run."""
    parser.add_argument(
        "--student",
        type=user_path,
        default=Path("runs/student"),
        metavar="FOLDER",
        help="output folder of a finished run (default: runs/student)",
    )
