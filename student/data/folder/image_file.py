"""Image files: which are read, and what can be known of one before its pixels are decoded."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image

from student.data.folder.embedded_image import EmbeddedImage
from student.errors import BadInput

SENT_AS_FILE = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
"""The formats that a vendor takes. An image in another format is sent as a PNG.

A constant, and not the vendor's own list, because the name of an embedding in the cache depends on
it.
"""
# Only stubs, films, and pages that Pillow hands to other programs.
_NOT_STILL = frozenset({"BUFR", "GRIB", "HDF5", "IPTC", "MPEG", "FLI", "EPS", "WMF", "PDF", "PALM"})
_RUN_LENGTH = frozenset({1, 2})


@cache
def read_formats() -> tuple[str, ...]:
    """The formats of still images that this Pillow reads by itself."""
    Image.init()
    others = (name for name in Image.ID if name in Image.OPEN and name not in _NOT_STILL)
    return tuple(dict.fromkeys((*SENT_AS_FILE, *others)))


@cache
def image_suffixes() -> frozenset[str]:
    """The suffixes of those formats, in small letters and with their dots."""
    formats = {*read_formats(), "MPO"}  # MPO, a JPEG with several views, is read as JPEG
    return frozenset(
        suffix for suffix, name in Image.registered_extensions().items() if name in formats
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFile:
    """An image file, identified by its content, and what is known from its header.

    `image_format` is Pillow's name of the format, and "" for a file that is not an image.
    `is_sent_as_file` is whether a vendor takes the file as it is. Where the image is `embedded` in
    a data set, `path` names it and there is no such file.
    """

    path: Path
    digest: str  # hex sha256 of the file
    num_bytes: int = 0
    image_format: str = ""
    width: int = 0
    height: int = 0
    is_sent_as_file: bool = True
    embedded: EmbeddedImage | None = None

    def read_bytes(self) -> bytes:
        """The file as it is stored. Raises OSError."""
        return (self.embedded or self.path).read_bytes()


def read_image_file(path: Path, embedded: EmbeddedImage | None = None) -> ImageFile:
    """Reads a file once. Raises BadInput where it cannot be opened."""
    try:
        data = (embedded or path).read_bytes()
    except OSError as error:
        message = f"{path} cannot be opened ({error.strerror}): nothing was bought; move it away"
        raise BadInput(message) from error
    image_format, (width, height), is_sent_as_file = _header(data)
    return ImageFile(
        path=path,
        digest=hashlib.sha256(data).hexdigest(),
        num_bytes=len(data),
        image_format=image_format,
        width=width,
        height=height,
        is_sent_as_file=is_sent_as_file,
        embedded=embedded,
    )


def _header(data: bytes) -> tuple[str, tuple[int, int], bool]:
    """The format, the size, and whether the file is sent as it is."""
    try:
        with Image.open(io.BytesIO(data), formats=read_formats()) as image:
            # Vendors refuse run-length encoded BMP, which takes Pillow seconds.
            is_slow = image.format == "BMP" and image.info.get("compression") in _RUN_LENGTH
            # An MPO is a JPEG file, with further images after the first.
            image_format = "JPEG" if image.format == "MPO" else image.format or ""
            return image_format, image.size, image_format in SENT_AS_FILE and not is_slow
    # Pillow's readers raise whatever a broken file makes them raise; `open_rgb` reports it.
    except Exception:
        return "", (0, 0), True
