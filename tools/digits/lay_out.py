"""Write the digits data set as `root/<look>/<class>/<figure>.png`, with `unseen.csv`.

python -m tools.digits.lay_out --out data/digits
"""

import argparse
import csv
from collections.abc import Callable, Iterable
from pathlib import Path

from student.data.folder.unseen import UNSEEN_FILE
from tools.digits.figures import Figure, all_figures
from tools.digits.looks import looks

GROUPS = {"teacher": "known to the teacher only", "nobody": "known to nobody"}


def lay_out(
    root: Path,
    figures: Iterable[Figure],
    *,
    progress: Callable[[str, int], None] = lambda *_: None,
) -> int:
    """Write the figures in each of their looks; return the number of images.

    An image that exists is not written again. `progress(look, images)` is called after each look.
    Raises BadInput if a wheel is not installed.
    """
    drawn = list(figures)
    written = 0
    for look, draw in looks().items():
        in_look = 0
        for figure in drawn:
            path = root / look / figure.class_name / f"{figure.stem}.png"
            if not path.exists():
                picture = draw(figure)
                if picture is None:
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                part = path.with_suffix(".part")
                picture.save(part, format="PNG")
                part.replace(path)
            in_look += 1
        progress(look, in_look)
        written += in_look
    with (root / UNSEEN_FILE).open("w", newline="") as out:
        rows = csv.writer(out, lineterminator="\n")
        rows.writerow(["name", "group"])
        rows.writerows((f.stem, GROUPS[f.known_to]) for f in drawn if f.known_to != "student")
    return written


def main() -> None:
    """Write the data set."""
    parser = argparse.ArgumentParser(
        description="Write digits in eight looks, drawn from installed wheels."
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("data/digits"),
        help="folder to write (default: %(default)s)",
    )
    options = parser.parse_args()
    total = lay_out(
        options.out,
        all_figures(),
        progress=lambda look, images: print(f"{look}: {images} images", flush=True),
    )
    print(f"{total} images in {options.out}")


if __name__ == "__main__":
    main()
