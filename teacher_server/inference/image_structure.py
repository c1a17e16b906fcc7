"""How many parts an image file has, counted before a decoder does work for each of them.

The pixel limit bounds what one pass over an image costs, not how many passes a file may ask for.
"""

from __future__ import annotations

import re

from teacher_server.errors import ImageRefused

# Real progressive JPEGs have about ten scans. Each is a pass over all pixels and may be 75 bytes
# long: 20 MiB of them kept a decoder busy for hours.
MAX_SCANS = 64
# Segments, chunks and blocks are read one by one in Python, which holds up every other thread. A
# PNG of 20 MiB in chunks of 8 KiB has 2,600; a JPEG's profile and maker notes, a few hundred.
MAX_PARTS = 10_000

_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
# In coded data 0xFF is followed by 0, or by a restart marker, which begins no segment.
_MARKER = re.compile(rb"\xff+([^\x00\x01\xd0-\xd8\xff])")
_RUN_LENGTH = frozenset({1, 2})


def check_structure(data: bytes) -> None:
    """Refuse (`invalid_image`) a file of more parts than any honest one has.

    What is malformed passes: that is for the decoder to say.
    """
    if data.startswith(b"\xff\xd8"):
        _check_jpeg(data)
    elif data.startswith(b"\x89PNG\r\n\x1a\n"):
        _check_png(data)
    elif data.startswith(b"GIF8"):
        _check_gif(data)
    elif data.startswith(b"BM") and int.from_bytes(data[30:34], "little") in _RUN_LENGTH:
        # Pillow unpacks these in Python, a pixel at a time: 29 KB took it nine seconds.
        message = "run-length encoded BMP is not read; save it uncompressed, or as PNG"
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
            raise _excess(kind="scans" if scans > MAX_SCANS else "segments")
        length = int.from_bytes(data[marker.end() : marker.end() + 2], "big")
        position = marker.end() + max(length, 2)


def _check_png(data: bytes) -> None:
    position, chunks = 8, 0
    while position < len(data):
        position += 12 + int.from_bytes(data[position : position + 4], "big")
        chunks += 1
        if chunks > MAX_PARTS:
            raise _excess(kind="chunks")


def _check_gif(data: bytes) -> None:
    """The blocks before the first image; what follows it is not read."""
    flags = data[10] if len(data) > 10 else 0
    position = 13 + (3 * (2 << (flags & 7)) if flags & 0x80 else 0)
    blocks = 0
    while data[position : position + 1] == b"!":
        position += 2
        # The empty block that ends an extension counts, too: there may be no other.
        size = None
        while size != 0:
            size = int.from_bytes(data[position : position + 1], "big")
            position += 1 + size
            blocks += 1
            if blocks > MAX_PARTS:
                raise _excess(kind="blocks")


def _excess(*, kind: str) -> ImageRefused:
    message = f"the image has too many {kind} to be an honest one"
    return ImageRefused(message, code="invalid_image")
