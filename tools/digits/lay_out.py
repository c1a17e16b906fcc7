"""Lays the digits out as `root/<look>/<class>/<figure>.png`, with `unseen.csv`.

python -m tools.digits.lay_out --out data/digits
"""

import argparse
import csv
from collections.abc import Callable, Iterable
from pathlib import Path

from student.data.image_folder import UNSEEN_FILE
from tools.digits.figures import Figure, all_figures
from tools.digits.looks import looks

GROUPS = {"teacher": "known to the teacher only", "nobody": "known to nobody"}


def lay_out(
    root: Path,
    figures: Iterable[Figure],
    *,
    progress: Callable[[str, int], None] = lambda *_: None,
) -> int:
    """Writes the figures in every look that they wear; returns the number of pictures.

    A picture that is there already is left as it is. `progress(look, pictures)` is called after
    each look. Raises BadInput where a wheel is missing.
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
    """Writes the data set."""
    parser = argparse.ArgumentParser(description="Digits in eight looks, from installed wheels.")
    parser.add_argument("--out", type=Path, default=Path("data/digits"))
    options = parser.parse_args()
    total = lay_out(
        options.out,
        all_figures(),
        progress=lambda look, pictures: print(f"{look}: {pictures} pictures", flush=True),
    )
    print(f"{total} pictures in {options.out}")


if __name__ == "__main__":
    main()
