"""Draw a figure as ink coverage per pixel, before any colour.

Figures are drawn at four times the size and averaged down. A pose is a rotation, a slant, a scale
and a position. It is random by the figure's name, so that every look shows the same drawing.
"""

import math
import random
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from tools.digits.figures import Figure, Typeface, handwritten_digits
from tools.digits.installed_files import installed

SIZE = 64  # pixels, the image size of the student and the small teacher
FINE = 4 * SIZE
HEIGHT = 160  # of the digit 8 before its pose, in pixels of the large drawing
STROKE = 7  # half the width of an outline, in pixels of the large drawing

Ink = NDArray[np.float64]
"""(SIZE, SIZE), from 0 for paper to 1 for ink."""

# The seven segments as (column, row) corners of a unit digit, two columns wide and four rows tall.
SEGMENTS = {
    "a": ((0, 0), (2, 0)),
    "b": ((2, 0), (2, 2)),
    "c": ((2, 2), (2, 4)),
    "d": ((0, 4), (2, 4)),
    "e": ((0, 2), (0, 4)),
    "f": ((0, 0), (0, 2)),
    "g": ((0, 2), (2, 2)),
}
LIT = ("abcdef", "bc", "abged", "abgcd", "fgbc", "afgcd", "afgedc", "abc", "abcdefg", "abcdfg")


def printed(figure: Figure) -> Ink:
    """Draw the filled glyph."""
    return _posed(_glyph(figure, stroke=0), figure.stem)


def outline(figure: Figure) -> Ink:
    """Draw the outline of the glyph."""
    edge = np.asarray(_glyph(figure, stroke=STROKE), np.int16) - np.asarray(
        _glyph(figure, stroke=0), np.int16
    )
    return _posed(Image.fromarray(edge.clip(0, 255).astype(np.uint8)), figure.stem)


def handwritten(figure: Figure) -> Ink:
    """Draw the scanned 8 by 8 pixels, enlarged by bicubic interpolation."""
    blocks = Image.fromarray((_handwritten_digits()[figure.row] * (255 / 16)).astype(np.uint8))
    drawn = blocks.resize((FINE * 3 // 4, FINE * 3 // 4), Image.Resampling.BICUBIC)
    sheet = Image.new("L", (FINE, FINE))
    sheet.paste(drawn, (FINE // 8, FINE // 8))
    return _averaged(sheet)


def display(figure: Figure, *, lit: str | None = None) -> Ink:
    """Draw the lit segments of the digit, or the segments in `lit`.

    The slant is always to the right; otherwise a mirrored 2 would be a 5.
    """
    draw = random.Random(figure.stem)
    tall, wide = draw.uniform(150, 200), draw.uniform(80, 110)
    thick, lean = draw.uniform(14, 26), draw.uniform(0.08, 0.25)
    gap = thick * draw.uniform(0.55, 0.8)
    left = (FINE - wide) / 2 + draw.uniform(-12, 12)
    top = (FINE - tall) / 2 + draw.uniform(-12, 12)
    sheet = Image.new("L", (FINE, FINE))
    pen = ImageDraw.Draw(sheet)
    for name in LIT[figure.digit] if lit is None else lit:
        ends = [(left + c * wide / 2, top + r * tall / 4) for c, r in SEGMENTS[name]]
        corners = _segment(ends[0], ends[1], gap=gap, half=thick / 2)
        pen.polygon([(x + lean * (FINE / 2 - y), y) for x, y in corners], fill=255)
    return _averaged(sheet)


Point = tuple[float, float]


def _segment(start: Point, end: Point, *, gap: float, half: float) -> list[Point]:
    """The corners of a bar with pointed ends that stops `gap` before both points."""
    length = math.dist(start, end)
    ux, uy = (end[0] - start[0]) / length, (end[1] - start[1]) / length

    def at(along: float, across: float) -> Point:
        return start[0] + ux * along - uy * across, start[1] + uy * along + ux * across

    first, last = gap, length - gap
    return [
        *(at(first - half / 2, 0), at(first + half / 2, half), at(last - half / 2, half)),
        *(at(last + half / 2, 0), at(last - half / 2, -half), at(first + half / 2, -half)),
    ]


@cache
def _handwritten_digits() -> NDArray[np.uint8]:
    return handwritten_digits()[0]


@cache
def _font(face: Typeface) -> ImageFont.FreeTypeFont:
    """The font at the size at which the digit 8 is HEIGHT pixels tall."""
    path = str(installed(face.wheel, face.file))

    def at(size: float) -> ImageFont.FreeTypeFont:
        font = ImageFont.truetype(path, size)
        if face.variation:
            font.set_variation_by_name(face.variation)
        return font

    _, top, _, bottom = at(200).getbbox("8")
    return at(200 * HEIGHT / (bottom - top))


def _glyph(figure: Figure, *, stroke: int) -> Image.Image:
    """The digit in the middle of a large image, regardless of the baseline."""
    if figure.face is None:
        message = f"{figure.stem} has no typeface"
        raise ValueError(message)
    font, digit = _font(figure.face), str(figure.digit)
    left, top, right, bottom = font.getbbox(digit)
    sheet = Image.new("L", (FINE, FINE))
    corner = ((FINE - left - right) / 2, (FINE - top - bottom) / 2)
    ImageDraw.Draw(sheet).text(corner, digit, font=font, fill=255, stroke_width=stroke)
    return sheet


def _posed(sheet: Image.Image, stem: str) -> Ink:
    draw = random.Random(stem)
    turn, slant = math.radians(draw.uniform(-10, 10)), draw.uniform(-0.12, 0.12)
    scale = draw.uniform(0.8, 1.1)
    right, down = draw.uniform(-16, 16), draw.uniform(-12, 12)
    cos, sin = math.cos(turn) / scale, math.sin(turn) / scale
    # Pillow expects the inverse: the source position of each result pixel.
    a, b, d, e = cos + slant * sin, slant * cos - sin, sin, cos
    middle = FINE / 2
    x, y = middle + right, middle + down
    matrix = (a, b, middle - a * x - b * y, d, e, middle - d * x - e * y)
    return _averaged(
        sheet.transform(
            (FINE, FINE), Image.Transform.AFFINE, matrix, resample=Image.Resampling.BILINEAR
        )
    )


def _averaged(sheet: Image.Image) -> Ink:
    return np.asarray(sheet.reduce(FINE // SIZE), np.float64) / 255
