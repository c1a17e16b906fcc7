"""`distill-client demo-data`: writes the emoji data set."""

from __future__ import annotations

import argparse
from pathlib import Path

from student.options.folders import require_writable
from student.options.section import user_path


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command's options."""
    made = argparse.ArgumentParser(
        "distill-client demo-data",
        description="Write emoji in ten styles, as OUT/<style>/<class>/*.",
    )
    made.add_argument(
        "--out",
        type=user_path,
        default=Path("data/emoji"),
        metavar="FOLDER",
        help="output folder (default: data/emoji)",
    )
    return made


def main(arguments: list[str]) -> int:
    """Writes the images and prints how many there are. Raises BadInput."""
    options = parser().parse_args(arguments)
    from student.data.demo.lay_out import lay_out

    require_writable(options.out, "--out")

    def show(style: str, images: int) -> None:
        print(f"{style:10} {images} images", flush=True)

    total = lay_out(options.out, progress=show)
    print(f"{total} images of ten styles under {options.out}")
    return 0
