"""Draws one class in the ten styles, a row a style: the picture at the head of the README.

python -m tools.emoji.contact_sheet --data data/emoji --class bird --out docs/images/styles.png
"""

import argparse
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from student.data.image_folder import discover

ACROSS, CELL, NAME_WIDTH = 12, 76, 110  # pictures a row, pixels


def contact_sheet(data: Path, class_name: str) -> Image.Image:
    """The same emoji in every row: the first that every style has, in order of name."""
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
    """Writes the sheet."""
    parser = argparse.ArgumentParser(description="One class in ten styles.")
    parser.add_argument("--data", type=Path, default=Path("data/emoji"))
    parser.add_argument("--class", dest="class_name", default="bird")
    parser.add_argument("--out", type=Path, default=Path("docs/images/styles.png"))
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(options.data, options.class_name).save(options.out, optimize=True)


if __name__ == "__main__":
    main()
