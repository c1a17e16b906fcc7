"""Draw one class in the ten styles, with one row per style: the image at the top of the README.

python -m tools.emoji.contact_sheet --data data/emoji --class bird --out docs/images/styles.png
"""

import argparse
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from student.data.folder.image_folder import discover

ACROSS, CELL, NAME_WIDTH = 12, 76, 110  # images per row, pixels


def contact_sheet(data: Path, class_name: str) -> Image.Image:
    """Return the sheet: the first emoji by name that every style has, the same in every row."""
    catalogue = discover(data)
    paths = {
        style: {
            item.path.stem: item.path
            for item in catalogue.items
            if (item.domain, item.class_name) == (style, class_name)
        }
        for style in catalogue.domains
    }
    shared = sorted(set.intersection(*(set(by_stem) for by_stem in paths.values())))[:ACROSS]
    size = (NAME_WIDTH + CELL * len(shared), CELL * len(paths))
    sheet = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=16)
    for row, (style, by_stem) in enumerate(paths.items()):
        middle = CELL * row + CELL // 2
        draw.text((8, middle), style, font=font, fill="black", anchor="lm")
        for column, stem in enumerate(shared):
            with Image.open(by_stem[stem]) as picture:
                sheet.paste(picture, (NAME_WIDTH + CELL * column, CELL * row))
    return sheet


def main() -> None:
    """Write the sheet."""
    parser = argparse.ArgumentParser(description="Draw one class of emoji in every style.")
    parser.add_argument(
        "--data",
        type=Path,
        default=Path("data/emoji"),
        help="folder of the data set (default: %(default)s)",
    )
    parser.add_argument(
        "--class", dest="class_name", default="bird", help="class to draw (default: %(default)s)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("docs/images/styles.png"),
        help="image file to write (default: %(default)s)",
    )
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(options.data, options.class_name).save(options.out, optimize=True)


if __name__ == "__main__":
    main()
