"""The samples of the corpus, and writers for files that no ordinary program produces."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from PIL import Image

from benchmarks.support.vendor_in_process import picture
from teacher_server.inference.decode_image import ImageLimits

LIMITS = ImageLimits(max_bytes=2 * 2**20, max_pixels=4_000_000)
INVALID, TOO_LARGE, TOO_MANY = "invalid_image", "image_too_large", "image_too_many_pixels"
FORMS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One image of the corpus and its expected outcome.

    `content` is a file as bytes, or as str the image field of a JSON request. If `code` is None the
    image must be embedded, with the vector of `looks` if that is given; otherwise it must be
    refused with that problem code. If `is_open`, both outcomes are allowed.
    """

    group: str
    name: str
    content: bytes | str
    code: str | None = None
    looks: Image.Image | None = None
    is_open: bool = False
    filename: str = "a.png"


def saved(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    """Encode an image as a file."""
    buffer = BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def noise(seed: int = 0, size: tuple[int, int] = (40, 30), mode: str = "RGB") -> Image.Image:
    """Return an image of noise, which depends on the seed alone."""
    with Image.open(BytesIO(picture(seed, size=size))) as image:
        return image.convert(mode)


def as_opened(data: bytes) -> Image.Image:
    """Decode the file with Pillow alone: the expected pixels."""
    with Image.open(BytesIO(data)) as image:
        return image.convert("RGB")


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """Return a PNG chunk with its checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width: int, height: int, data: bytes, *, depth: int = 8, color: int = 0) -> bytes:
    """Return a PNG with this header and compressed data, even if they do not match."""
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def bmp_run_length(width: int, height: int, data: bytes) -> bytes:
    """Return an 8-bit BMP with run-length encoded data."""
    palette = b"\0\0\0\0" * 256
    start = 14 + 40 + len(palette)
    file = b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start)
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(data), 0, 0, 256, 0)
    return file + info + palette + data


def with_scans(data: bytes, scans: int) -> bytes:
    """Repeat the last scan of a progressive JPEG."""
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * scans + b"\xff\xd9"
