"""Limits the number of parts in an image file before it is decoded.

The pixel limit bounds the cost of one pass over an image, but not the number of passes.
"""

from __future__ import annotations

import re

from teacher_server.errors import ImageRefused

# Real progressive JPEGs have about ten scans. A scan is a pass over all pixels and can be 75 bytes
# long: 20 MiB of them kept the decoder busy for hours.
MAX_SCANS = 64
# Segments, chunks and blocks are read one at a time in Python, which blocks other threads. A PNG of
# 20 MiB in chunks of 8 KiB has 2,600; a JPEG's profile and maker notes are a few hundred.
MAX_PARTS = 10_000

_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
# In coded data, 0xFF is followed by 0 or by a restart marker, which does not start a segment.
_MARKER = re.compile(rb"\xff+([^\x00\x01\xd0-\xd8\xff])")
_RUN_LENGTH = frozenset({1, 2})


def check_structure(data: bytes) -> None:
    """Refuse (`invalid_image`) a file with far more parts than real images have.

    Malformed files pass; the decoder refuses them.
    """
    if data.startswith(b"\xff\xd8"):
        _check_jpeg(data)
    elif data.startswith(b"\x89PNG\r\n\x1a\n"):
        _check_png(data)
    elif data.startswith(b"GIF8"):
        _check_gif(data)
    elif data.startswith(b"BM") and int.from_bytes(data[30:34], "little") in _RUN_LENGTH:
        # Pillow decodes these in Python, one pixel at a time: 29 KB took nine seconds.
        message = "run-length encoded BMP is not supported; save it uncompressed, or as PNG"
        raise ImageRefused(message, code="invalid_image")


def _check_jpeg(data: bytes) -> None:
    position, scans, segments = 2, 0, 0
    while (marker := _MARKER.search(data, position)) is not None:
        kind = marker[1][0]
        if kind == _END_OF_IMAGE:
            return
        scans += kind == _START_OF_SCAN
        segments += 1
        if scans > MAX_SCANS or segments > MAX_PARTS:
            raise _too_many(scans=MAX_SCANS) if scans > MAX_SCANS else _too_many(segments=MAX_PARTS)
        length = int.from_bytes(data[marker.end() : marker.end() + 2], "big")
        position = marker.end() + max(length, 2)


def _check_png(data: bytes) -> None:
    position, chunks = 8, 0
    while position < len(data):
        position += 12 + int.from_bytes(data[position : position + 4], "big")
        chunks += 1
        if chunks > MAX_PARTS:
            raise _too_many(chunks=MAX_PARTS)


def _check_gif(data: bytes) -> None:
    """Count the blocks before the first image; nothing after it is read."""
    flags = data[10] if len(data) > 10 else 0
    position = 13 + (3 * (2 << (flags & 7)) if flags & 0x80 else 0)
    blocks = 0
    while data[position : position + 1] == b"!":
        position += 2
        # The empty block that ends an extension is counted, too, as it may be the only block.
        size = None
        while size != 0:
            size = int.from_bytes(data[position : position + 1], "big")
            position += 1 + size
            blocks += 1
            if blocks > MAX_PARTS:
                raise _too_many(blocks=MAX_PARTS)


def _too_many(**limits: int) -> ImageRefused:
    ((parts, limit),) = limits.items()
    message = f"the image has too many {parts} (limit {limit:,})"
    return ImageRefused(message, code="invalid_image")
