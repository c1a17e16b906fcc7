"""The K reproducible views of an image that are bought from the teacher and shown to the student.

View 0 is the image itself. The others are seeded crops, flips and colour changes with the paper's
ranges (section 4: RandomResizedCrop .7-1, flip, ColorJitter .3, grayscale .1), drawn from the
image's own digest: teacher and student see the same pixels, on any machine, at any time.
"""

import io
import random
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps

from student.data.folder.image_file import read_formats
from student.data.rgb_conversion import load_rgb
from student.errors import DataError
from student.transforms.parameters import LUMA, NUM_UNIFORMS, draw_views

RECIPE = "crop-flip-colour/1"
"""Part of every view's key: a change to this file that changes a pixel needs a new version.

Not changed when 16-bit grey was no longer read as white, because all views would have to be bought
again.
"""


AS_PNG = "png/1"
"""The name of view 0 of a file in a format that no vendor takes: all its pixels, as a PNG."""


def view_name(k: int, size: int, *, is_sent_as_file: bool = True) -> str:
    """The name of view `k` at `size` pixels in the cache; view 0 is the file as it is, or a PNG of
    it."""
    if k == 0:
        return "original" if is_sent_as_file else AS_PNG
    return f"{RECIPE}@{size}#{k}"


def open_rgb(path: Path, data: bytes | None = None) -> Image.Image:
    """The image in 8-bit RGB: upright by its EXIF tag, transparency over white, 16-bit grey by its
    high byte.

    `data` is the content of the file, if it has been read. Raises DataError if the file is not a
    complete image, or has pixels that no rule turns into 8 bits.
    """
    try:
        with _opened(path, data) as opened:
            return load_rgb(opened, lambda: _opened(path, data))
    # Pillow's readers raise whatever a broken file makes them raise: struct.error among others.
    except Exception as error:
        message = f"{path} cannot be read as an image: {error}"
        raise DataError(message) from error


def _opened(path: Path, data: bytes | None) -> ImageFile.ImageFile:
    source = path if data is None else io.BytesIO(data)
    return Image.open(source, formats=read_formats())


def render(image: Image.Image, digest: str, k: int, size: int) -> NDArray[np.uint8]:
    """View `k` of an RGB image as the student sees it: uint8 (size, size, 3)."""
    if k == 0:
        return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))
    # The standard library's generator: its stream is the same on every version and machine.
    draw = random.Random(f"{RECIPE} {digest} {k}")
    uniform = np.array([[draw.random() for _ in range(NUM_UNIFORMS)]])
    width, height = image.size
    view = draw_views(uniform, aspect=width / height)
    left, top, wide, high = view.box[0]
    box = (left * width, top * height, (left + wide) * width, (top + high) * height)
    cropped = image.resize((size, size), Image.Resampling.BICUBIC, box=_inside(box, image.size))
    pixels = np.asarray(ImageOps.mirror(cropped) if view.flipped[0] else cropped, np.float64)
    matrix = view.colour[0]
    mean_grey = float((pixels @ LUMA).mean())
    coloured = pixels @ matrix[:, :3].T + matrix[:, 3] * mean_grey
    rendered: NDArray[np.uint8] = coloured.clip(0, 255).round().astype(np.uint8)
    return rendered


def _inside(
    box: tuple[float, float, float, float], size: tuple[int, int]
) -> tuple[float, float, float, float]:
    """The box without what rounding put beyond the edge, which Pillow refuses."""
    left, top, right, bottom = box
    return max(left, 0.0), max(top, 0.0), min(right, float(size[0])), min(bottom, float(size[1]))


def png(pixels: NDArray[np.uint8]) -> bytes:
    """The bytes that are sent for a rendered view: a lossless PNG."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format="PNG")
    return out.getvalue()
