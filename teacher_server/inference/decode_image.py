"""Decodes untrusted bytes to an RGB image, or refuses them with a reason."""

from __future__ import annotations

import base64
import binascii
import re
import warnings
from dataclasses import dataclass
from io import BytesIO

from PIL import Image, UnidentifiedImageError

from teacher_server.errors import ImageRefused
from teacher_server.inference.image_strings import ACCEPTED_FORMS, DATA_URI
from teacher_server.inference.image_structure import check_structure
from teacher_server.inference.rgb_conversion import load_rgb

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
# A narrow image whose shorter side is resized would grow to many times its checked pixels.
MAX_ASPECT_RATIO = 100

# What no base64 has, apart from the line breaks that programs put into it.
_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/=]")


def configure_pillow_warnings() -> None:
    """Ignore Pillow's warnings, and turn its warning of a decompression bomb into an error.

    One file of 64 KiB can cause thousands of warnings. Called once, because filters belong to the
    process, and changing them for each image would race between the decoding threads.
    """
    warnings.filterwarnings("ignore", module=r"PIL\.")
    warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


configure_pillow_warnings()


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLimits:
    """Limits on an image file's bytes and on its pixels."""

    max_bytes: int
    max_pixels: int


def decode_base64(text: str, limits: ImageLimits) -> bytes:
    """Decode a data-URI or bare base64, strictly; line breaks within the base64 are allowed.

    Raises ImageRefused (`image_too_large`, `invalid_image`). URLs are refused and never fetched.
    """
    payload = text
    if text[:100].lstrip().lower().startswith("data:"):
        payload = text[_payload_start(text) :]
    elif text[:100].lstrip().lower().startswith(("http://", "https://")):
        message = f"URLs are not fetched; {ACCEPTED_FORMS}"
        raise ImageRefused(message, code="invalid_image")
    payload = payload.replace("\n", "").replace("\r", "")
    if len(payload) // 4 * 3 > limits.max_bytes + 2:
        raise _too_large(limits)
    try:
        return base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ImageRefused(_why_not_base64(payload), code="invalid_image") from error


def _payload_start(text: str) -> int:
    """Where the base64 of a data-URI begins; raises ImageRefused if it is not one of an image."""
    match = DATA_URI.match(text[:2500])
    if match is None:
        message = "the data-URI must have the form data:image/…;base64,…"
        raise ImageRefused(message, code="invalid_image")
    kind = match["type"] or ""
    if not kind.lower().startswith("image/"):
        message = f"the data-URI has the type {kind[:40]!r}, which is not an image"
        raise ImageRefused(message, code="invalid_image")
    if not match["parameters"].lower().endswith(";base64"):
        message = "the data-URI is not base64; it must have the form data:image/…;base64,…"
        raise ImageRefused(message, code="invalid_image")
    return match.end()


def _why_not_base64(payload: str) -> str:
    """What is wrong with base64 that cannot be decoded."""
    found = _NOT_BASE64.search(payload)
    if found is None:
        return "the image is not valid base64: its end is cut off, or its padding is wrong"
    if found[0] in "-_":
        return (
            "the image is not valid base64: it has the URL-safe alphabet (- and _), and the "
            "standard one (+ and /) is needed"
        )
    what = "a blank" if found[0].isspace() else f"the character {found[0]!r}"
    return f"the image is not valid base64: it has {what} at position {found.start()}"


def check_size(data: bytes, limits: ImageLimits) -> None:
    """Refuse an empty file (`invalid_image`) or a file over the limit (`image_too_large`)."""
    if not data:
        message = "the image is empty (0 bytes)"
        raise ImageRefused(message, code="invalid_image")
    if len(data) > limits.max_bytes:
        raise _too_large(limits)


def decode_image(data: bytes, limits: ImageLimits) -> Image.Image:
    """Decode the image's first frame: RGB, upright by its EXIF tag, transparency on white.

    Raises ImageRefused. Bytes, parts and pixels are checked before any pixel is decoded.
    """
    check_size(data, limits)
    check_structure(data)
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            _check_pixels(image.size, limits)
            return load_rgb(image, lambda: Image.open(BytesIO(data), formats=FORMATS))
    except ImageRefused:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise _too_many_pixels(limits) from error
    except UnidentifiedImageError as error:
        message = f"the file is not an image of a supported format ({', '.join(FORMATS)})"
        raise ImageRefused(message, code="invalid_image") from error
    # For broken files, Pillow raises OSError, SyntaxError, struct.error, ValueError,
    # ZeroDivisionError and more.
    except Exception as error:
        message = "the image is truncated or damaged and cannot be decoded"
        raise ImageRefused(message, code="invalid_image") from error


def _check_pixels(size: tuple[int, int], limits: ImageLimits) -> None:
    width, height = size
    if width * height > limits.max_pixels:
        raise _too_many_pixels(limits)
    if max(size) > MAX_ASPECT_RATIO * min(size):
        message = f"the aspect ratio of {width}x{height} pixels is over {MAX_ASPECT_RATIO}"
        raise ImageRefused(message, code="invalid_image")


def _too_large(limits: ImageLimits) -> ImageRefused:
    return ImageRefused(
        f"the image is larger than {limits.max_bytes} bytes", code="image_too_large"
    )


def _too_many_pixels(limits: ImageLimits) -> ImageRefused:
    return ImageRefused(
        f"the image has more than {limits.max_pixels} pixels", code="image_too_many_pixels"
    )
