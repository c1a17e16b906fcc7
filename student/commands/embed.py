"""`distill-client embed`: embeds images with a finished student, in the teacher's space."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from student.commands.student_option import add_student_option
from student.errors import BadInput, DataError
from student.options.folders import require_writable
from student.options.section import user_path

_SUFFIXES = (".npy", ".parquet")


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command's options."""
    made = argparse.ArgumentParser(
        "distill-client embed",
        description=(
            "Embed images with a finished student, in the teacher's space and with unit length; no "
            "vendor is needed. FILE.npy holds float32 rows, and FILE.json beside it the "
            "image of each row; FILE.parquet has the columns image and "
            "embedding."
        ),
    )
    made.add_argument("images", nargs="+", type=user_path, metavar="IMAGE")
    made.add_argument(
        "--out", type=user_path, required=True, metavar="FILE", help="a .npy or .parquet file"
    )
    add_student_option(made)
    return made


def main(arguments: list[str]) -> int:
    """Writes the embeddings; a file that is not an image is named, and has no row.

    Raises BadInput, before an image is read, for an output that cannot be written or a student that
    cannot embed.
    """
    options = parser().parse_args(arguments)
    out: Path = options.out
    if out.suffix not in _SUFFIXES:
        message = f"--out {out}: the name ends in {' or '.join(_SUFFIXES)}"
        raise BadInput(message)
    from student.inference.embedding_file import require_writer, write_embeddings
    from student.inference.trained_student import load

    require_writer(out)
    require_writable(out.parent, "--out")
    student = load(options.student)
    student.require_projection()
    refused = 0

    def refuse(error: DataError) -> None:
        nonlocal refused
        refused += 1
        print(f"error: {error}", file=sys.stderr)

    written = write_embeddings(student, options.images, out, on_error=refuse)
    left_out = f"; {refused} files left out" if refused else ""
    print(f"wrote {written} embeddings of {student.dim} numbers to {out}{left_out}")
    return DataError.exit_code if refused else 0
