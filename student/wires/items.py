"""Items as wires write them: data-URIs, media types, and the pixels and tokens that are billed."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from itertools import takewhile

from PIL import Image

from student.vendor.request import Item
from student.vendor.schemas import Amounts

_MEDIA_TYPES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "GIF": "image/gif",
    "BMP": "image/bmp",
}
_BYTES_PER_TOKEN = 3
"""English has about four letters a token; three gives an estimate that is rather too high."""


def in_base64(item: Item) -> str:
    """The bytes of an image in base64."""
    return base64.b64encode(item.payload).decode("ascii")


def data_uri(item: Item) -> str:
    """An image as `data:image/png;base64,…`, by the format that its bytes have.

    Raises ValueError where they are no image.
    """
    image_format, _ = _header(item.payload)
    if image_format not in _MEDIA_TYPES:
        message = "an item is not an image in a format that has a media type here"
        raise ValueError(message)
    return f"data:{_MEDIA_TYPES[image_format]};base64,{in_base64(item)}"


def text_of(item: Item) -> str:
    """The text of an item."""
    return item.payload.decode("utf-8")


def pixels_of(item: Item) -> int:
    """Width times height of an image, from its header; 0 for a text, and where there is none."""
    return 0 if item.modality == "text" else _header(item.payload)[1]


def _header(data: bytes) -> tuple[str, int]:
    """The format and the number of pixels; "" and 0 for what is no image."""
    try:
        with Image.open(io.BytesIO(data), formats=tuple(_MEDIA_TYPES)) as image:
            # A JPEG with several views is called MPO once it is open.
            image_format = "JPEG" if image.format == "MPO" else image.format or ""
            return image_format, image.width * image.height
    except Exception:  # Pillow's readers raise whatever a broken file makes them raise
        return "", 0


def estimated_tokens(num_bytes: int) -> int:
    """About how many tokens a text of this many bytes has, start and end included."""
    return -(-num_bytes // _BYTES_PER_TOKEN) + 2


def amounts_of(items: Sequence[Item]) -> Amounts:
    """What these items may be billed as; the tokens are an estimate."""
    texts = [item for item in items if item.modality == "text"]
    return Amounts(
        images=len(items) - len(texts),
        texts=len(texts),
        tokens=sum(estimated_tokens(len(item.payload)) for item in texts),
        pixels=sum(map(pixels_of, items)),
    )


def of_one_modality(items: Sequence[Item]) -> int:
    """How many of the items, from the first on, are of the first one's modality."""
    return len(list(takewhile(lambda item: item.modality == items[0].modality, items)))
