"""Turns a decoded image file of any mode into 8-bit RGB. Vendor and client follow the same rule:
`student/data/rgb_conversion.py` and `teacher_server/inference/rgb_conversion.py` are equal, which
a test holds, because neither package imports the other.

First, what is transparent is decided on the samples as the file stores them; then the samples are
reduced to 8 bits, of which a deep sample keeps the highest; last, transparency is laid over white.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from PIL import Image, ImageChops, ImageFile, ImageOps

_WHITE = (255, 255, 255, 255)
_BAND_PIXELS = 2**20  # pixels that are composited at the same time
_GREY_BITS = {"1": 1, "L;2": 2, "L;4": 4}
_BITS, _PHOTOMETRIC = 258, 262  # tags of a TIFF; photometric 0: white is zero


def load_rgb(opened: Image.Image, reopen: Callable[[], ImageFile.ImageFile]) -> Image.Image:
    """The pixels of an opened image that was not loaded yet, in RGB and upright by its EXIF tag.

    `reopen` opens the same file again, which only a transparent colour in a PNG of 16 bits needs.
    Raises ValueError for samples without an agreed range, and whatever Pillow raises for a file
    that is broken.
    """
    stored = ""
    if isinstance(opened, ImageFile.ImageFile) and opened.format == "PNG" and opened.tile:
        stored = str(opened.tile[0].args)  # the mode of its samples, which loading forgets
    opened.load()
    image = _paint_key_white(opened, stored, reopen) if stored else opened
    image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        return _composite_on_white(image.convert("LA") if image.mode == "La" else image)
    if image.mode == "F":
        return _float_grey(image).convert("RGB")
    if image.mode.startswith("I"):
        grey = _deep_grey(image, bits=_tiff_tag(opened, _BITS, 16))
        is_negative = _tiff_tag(opened, _PHOTOMETRIC, 1) == 0 and image.mode != "I"
        return (ImageOps.invert(grey) if is_negative else grey).convert("RGB")
    return image.convert("RGB")


def _paint_key_white(
    image: Image.Image, stored: str, reopen: Callable[[], ImageFile.ImageFile]
) -> Image.Image:
    """A PNG without alpha whose tRNS chunk names one grey or colour as transparent, that grey or
    colour now white. Other images are returned as they are.

    Pillow compares the named value, which has the file's depth, with samples of 8 bits: in a file
    of 1, 2, 4 or 16 bits it finds no pixel, or the wrong ones.
    """
    key = image.info.get("transparency")
    if isinstance(key, int) and image.mode in ("1", "L"):
        most = 2 ** _GREY_BITS.get(stored, 8) - 1
        grey = (key & most) * 255 // most
        painted = image.convert("L").point([255 if v == grey else v for v in range(256)])
    elif isinstance(key, int) and image.mode == "I;16":
        painted = _deep_grey(image, key)
    elif isinstance(key, tuple) and stored == "RGB;16B":
        painted = image
        painted.paste(_WHITE[:3], mask=_deep_colour_mask(image, key, reopen))
    elif isinstance(key, tuple):
        image.info["transparency"] = tuple(value & 255 for value in key)
        return image
    else:
        return image
    del painted.info["transparency"]
    return painted


def _deep_colour_mask(
    image: Image.Image, key: tuple[int, ...], reopen: Callable[[], ImageFile.ImageFile]
) -> Image.Image:
    """Which pixels of a 16-bit RGB PNG have this colour, in all 16 bits: mode L, 0 or 255.

    Pillow keeps the high byte of each sample. Read as little-endian, the same file gives the low.
    """
    with reopen() as low:
        low.tile = [tile._replace(args="RGB;16L") for tile in low.tile]
        low.load()
        mask = Image.new("L", image.size, 255)
        for half, shift in ((image, 8), (low, 0)):
            for channel, value in zip(half.split(), key, strict=True):
                byte = value >> shift & 255
                equal = channel.point([255 * (v == byte) for v in range(256)])
                mask = ImageChops.multiply(mask, equal)
    return mask


def _tiff_tag(image: Image.Image, number: int, default: int) -> int:
    """A number from a TIFF's header, of those that Pillow does not apply to deep grey itself."""
    value = getattr(image, "tag_v2", {}).get(number, default)
    return int(value[0] if isinstance(value, tuple) else value)


def _extrema(grey: Image.Image) -> tuple[float, float]:
    low, high = cast("tuple[float, float]", grey.getextrema())  # of one channel
    return low, high


def _deep_grey(
    image: Image.Image, transparent: int | None = None, *, bits: int = 16
) -> Image.Image:
    """Grey of 12 or 16 bits in 8, by the highest. A plain conversion clips to white at 255."""
    table = [min(value >> (4 if bits == 12 else 8), 255) for value in range(2**16)]
    if transparent is not None:
        table[transparent] = 255
    deep = image.convert("I")
    low, high = _extrema(deep)
    if low < 0 or high >= 2**16:
        message = f"its grey levels reach from {low} to {high}, and 16 bits hold 0 to {2**16 - 1}"
        raise ValueError(message)
    return deep.point(table, "L")


def _float_grey(image: Image.Image) -> Image.Image:
    """Floating-point grey in 8 bits: samples between 0 and 1 are scaled by 255."""
    low, high = _extrema(image)
    if not 0 <= low <= high <= 255:
        message = (
            f"its grey levels reach from {low} to {high}: a float image is 0 to 1, or 0 to 255"
        )
        raise ValueError(message)
    return (image.point(lambda value: value * 255) if high <= 1 else image).convert("L")


def _composite_on_white(image: Image.Image) -> Image.Image:
    """Works in bands: three layers of a whole image at the vendor's limit would take a gigabyte."""
    width, height = image.size
    flat = Image.new("RGB", image.size)
    rows = max(1, _BAND_PIXELS // width)
    for top in range(0, height, rows):
        layer = image.crop((0, top, width, min(top + rows, height))).convert("RGBA")
        white = Image.new("RGBA", layer.size, _WHITE)
        flat.paste(Image.alpha_composite(white, layer).convert("RGB"), (0, top))
    return flat
