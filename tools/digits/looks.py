"""Eight looks of a digit: six printed, one look handwritten, one on a display.

`looks()["coloured"]` is a function from a figure to its image, or to None if figures of that kind
do not have the look.
"""

import colorsys
import hashlib
import random
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from tools.digits import ink
from tools.digits.figures import Figure
from tools.digits.ink import SIZE, Ink

Look = Callable[[Figure], Image.Image | None]
Colour = NDArray[np.float64]
"""RGB, 0 to 255."""

CELLS = 16  # dots per row of a dot matrix
INKED = 0.3  # share of a cell's ink above which its dot is printed
GHOST = 0.1  # brightness of an unlit segment, as a share of a lit segment


def looks() -> dict[str, Look]:
    """Return the drawing function of every look, by the name of its domain folder."""
    return {
        "print": _printed(lambda figure: _two_tone(ink.printed(figure), 255, 0)),
        "inverted": _printed(lambda figure: _two_tone(ink.printed(figure), 0, 255)),
        "coloured": _printed(_coloured),
        "outlined": _printed(lambda figure: _two_tone(ink.outline(figure), 255, 0)),
        "noisy": _printed(_noisy),
        "dots": _printed(_dots),
        "display": _display,
        "handwritten": _handwritten,
    }


def _printed(draw: Callable[[Figure], Image.Image]) -> Look:
    return lambda figure: draw(figure) if figure.kind == "print" else None


def _two_tone(drawn: Ink, paper: float, pen: float) -> Image.Image:
    return _mixed(drawn, np.full(3, paper), np.full(3, pen))


def _mixed(drawn: Ink, paper: Colour, pen: Colour) -> Image.Image:
    share = drawn[..., np.newaxis]
    return _picture(paper * (1 - share) + pen * share)


def _picture(pixels: NDArray[np.float64]) -> Image.Image:
    return Image.fromarray(pixels.clip(0, 255).round().astype(np.uint8))


def _rgb(hue: float, saturation: float, value: float) -> Colour:
    return 255 * np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value))


def _coloured(figure: Figure) -> Image.Image:
    """A strong colour on a gradient of another hue; dark on light or the reverse."""
    draw = random.Random(f"coloured {figure.stem}")
    hue = draw.random()
    other = hue + draw.uniform(0.25, 0.75)
    light = (draw.uniform(0.2, 0.45), draw.uniform(0.85, 1))
    dark = (draw.uniform(0.7, 1), draw.uniform(0.25, 0.5))
    paper, pen = draw.choice([(light, dark), (dark, light)])
    across = np.linspace(0, 1, SIZE)[:, np.newaxis]
    if draw.random() < 0.5:
        across = across[::-1]
    start, end = _rgb(other, *paper), _rgb(other + draw.uniform(-0.15, 0.15), *paper)
    shaded = start + (end - start) * across  # (SIZE, 3): a column, equal in every row
    return _mixed(ink.printed(figure), shaded, _rgb(hue, *pen))


def _noisy(figure: Figure) -> Image.Image:
    """A poor photocopy: grey on grey, blurred, with scratches and grain."""
    draw = random.Random(f"noisy {figure.stem}")
    seed = hashlib.sha256(f"grain {figure.stem}".encode()).digest()
    grain = np.random.default_rng(list(seed)).normal(0, draw.uniform(20, 38), (SIZE, SIZE, 1))
    copied = _two_tone(ink.printed(figure), draw.uniform(160, 230), draw.uniform(20, 90))
    for _ in range(draw.randint(1, 3)):
        row, shade = draw.randrange(SIZE), draw.randint(60, 200)
        copied.paste((shade, shade, shade), (0, row, SIZE, row + 1))
    blurred = copied.filter(ImageFilter.GaussianBlur(draw.uniform(0.8, 1.8)))
    return _picture(np.asarray(blurred, np.float64) + grain)


def _dots(figure: Figure) -> Image.Image:
    """A dot-matrix print: a round dot in each cell with enough ink."""
    step = SIZE // CELLS
    cells = ink.printed(figure).reshape(CELLS, step, CELLS, step).mean(axis=(1, 3))
    across = (np.arange(SIZE) % step) - (step - 1) / 2
    dot = (np.hypot(across[:, np.newaxis], across) < step * 0.48).astype(np.float64)
    printed = np.kron(cells > INKED, np.ones((step, step))) * dot
    return _two_tone(printed, 245, 25)


def _display(figure: Figure) -> Image.Image | None:
    """Lit segments of one colour on a dark panel; unlit segments are faint."""
    if figure.kind != "display":
        return None
    draw = random.Random(f"light {figure.stem}")
    light = _rgb(draw.choice((0.0, 0.08, 0.33, 0.5)), draw.uniform(0.6, 1), 1.0)
    panel = np.full(3, draw.uniform(5, 40))
    bars = ink.display(figure)
    unlit = ink.display(figure, lit="abcdefg") - bars
    return _mixed(bars + GHOST * unlit, panel, light)


def _handwritten(figure: Figure) -> Image.Image | None:
    """Ballpoint pen on white paper."""
    if figure.kind != "hand":
        return None
    return _mixed(ink.handwritten(figure), np.full(3, 255.0), np.array([25.0, 30.0, 70.0]))
