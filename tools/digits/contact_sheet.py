"""Draw a contact sheet of the digits data set, with one row per look.

python -m tools.digits.contact_sheet --data data/digits --out docs/images/digits.png
"""

import argparse
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from student.data.folder.image_folder import discover
from tools.digits.figures import DIGITS
from tools.digits.ink import SIZE

COLUMNS, GAP, NAME_WIDTH = 20, 4, 120  # images per row, pixels, pixels


def contact_sheet(data: Path) -> Image.Image:
    """Return the sheet: two images of each digit per look, from different writers or typefaces."""
    catalogue = discover(data)
    cell = SIZE + GAP
    sheet = Image.new("RGB", (NAME_WIDTH + cell * COLUMNS, cell * len(catalogue.domains)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=16)
    for row, look in enumerate(catalogue.domains):
        middle = cell * row + cell // 2
        pen.text((8, middle), look, font=font, fill="black", anchor="lm")
        for column in range(COLUMNS):
            digit = DIGITS[column % len(DIGITS)]
            paths = [i.path for i in catalogue.items if (i.domain, i.class_name) == (look, digit)]
            chosen = paths[(column * 7 + 3) % len(paths)]
            with Image.open(chosen) as picture:
                sheet.paste(picture, (NAME_WIDTH + cell * column, cell * row))
    return sheet


def main() -> None:
    """Write the sheet."""
    parser = argparse.ArgumentParser(description="Draw a contact sheet of the digits data set.")
    parser.add_argument(
        "--data",
        type=Path,
        default=Path("data/digits"),
        help="folder of the data set (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("docs/images/digits.png"),
        help="image file to write (default: %(default)s)",
    )
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(options.data).save(options.out, optimize=True)


if __name__ == "__main__":
    main()
