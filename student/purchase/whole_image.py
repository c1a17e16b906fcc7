"""View 0 of an image as it is sent: the file, or a PNG of it; and what a vendor would refuse."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np

from student.data.folder.image_file import ImageFile
from student.data.views import open_rgb, png
from student.errors import BadInput
from student.vendor.schemas import Limits

# A PNG of noise is larger than its pixels by a filter byte a row and a few bytes a block.
_PNG_OVERHEAD = 1.01


def whole_image(item: ImageFile, *, as_png: bool = False) -> Callable[[], bytes]:
    """Reads what is sent for an image: the file, or all its pixels as a PNG.

    The function raises OSError, and BadInput for a file that must be decoded and has changed.
    """
    is_file = item.is_sent_as_file and not as_png
    return item.read_bytes if is_file else lambda: _as_png(item)


def is_converted(item: ImageFile, limits: Limits) -> bool:
    """Whether a PNG is sent because the vendor does not take the file's format."""
    formats = limits.image_formats
    is_known = item.is_sent_as_file and bool(item.image_format)
    return (
        limits.converts_formats
        and is_known
        and formats is not None
        and item.image_format not in formats
    )


def _as_png(item: ImageFile) -> bytes:
    data = item.read_bytes()
    if hashlib.sha256(data).hexdigest() != item.digest:
        message = f"{item.path} has changed since the data set was scanned"
        raise BadInput(message)
    return png(np.asarray(open_rgb(item.path, data)))


def why_unfit(item: ImageFile, limits: Limits) -> str:
    """Why a vendor with these limits would refuse the image; "" if nothing is known against it."""
    width, height = item.width, item.height
    if item.image_format and width * height > limits.max_image_pixels:
        return f"more than {limits.max_image_pixels:,} pixels"
    ratio = limits.max_image_aspect_ratio
    if ratio is not None and max(width, height) > ratio * min(width, height):
        return f"one side is more than {ratio} times the other"
    if _bytes_sent(item, limits) > limits.max_image_bytes:
        return f"larger than {limits.max_image_bytes:,} bytes"
    formats = limits.image_formats
    if formats is None or is_converted(item, limits):
        return ""
    if item.is_sent_as_file and item.image_format not in formats:
        return f"in the format {item.image_format or 'of no image'}, which the vendor does not take"
    return ""


def _bytes_sent(item: ImageFile, limits: Limits) -> int:
    if item.is_sent_as_file and not is_converted(item, limits):
        return item.num_bytes
    most = round(3 * item.width * item.height * _PNG_OVERHEAD)
    if most <= limits.max_image_bytes:
        return most
    try:
        return len(_as_png(item))
    except (OSError, BadInput):  # reported where the image is read or sent
        return 0
