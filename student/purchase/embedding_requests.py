"""Requests for embeddings: the key of each, and the bytes that are sent for it."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cache.records.embedding_key import EmbeddingKey
from student.data.folder.image_file import ImageFile
from student.data.folder.image_folder import Item as ImageItem
from student.data.views import png
from student.embeddings.keys import text_key, view_keys
from student.errors import BadInput
from student.purchase.whole_image import is_converted, whole_image, why_unfit
from student.training.pixels import Pixels
from student.vendor.request import Item
from student.vendor.schemas import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingRequest:
    """An embedding to buy: its key, and the text itself, the image's file, or a function that reads
    the image's bytes.

    A plan holds one for every image, so that nothing is kept in it that the image's file knows.
    `name` (a file, a prompt) is used in messages only. `unfit` says why this vendor would refuse
    it, as far as that can be known here; such a request is not sent. `made_pixels` is the size of
    an image that is not sent as its file. `is_converted`: a PNG of the file's pixels is sent,
    because this vendor does not take the file's format.
    """

    key: EmbeddingKey
    payload: Callable[[], bytes] | ImageFile | str
    name: str | Path = ""
    unfit: str = ""
    made_pixels: int = 0
    is_converted: bool = False

    @property
    def pixels(self) -> int:
        """The size of an image, as far as it is known; 0 for a text."""
        file = self.payload
        return file.width * file.height if isinstance(file, ImageFile) else self.made_pixels

    def item(self) -> Item:
        """What is sent. Raises BadInput when the file is gone or has changed since the scan."""
        if isinstance(self.payload, str):
            return Item(
                modality="text", payload=unicodedata.normalize("NFC", self.payload).encode()
            )
        try:
            read = self.payload.read_bytes if isinstance(self.payload, ImageFile) else self.payload
            data = read()
        except OSError as error:
            detail = f"cannot read {self._title}: {error.strerror or error}"
            raise BadInput(detail) from error
        is_file = self.key.view == "original" and not self.is_converted
        if is_file and hashlib.sha256(data).hexdigest() != self.key.item:
            detail = f"{self._title} has changed since the data set was scanned"
            raise BadInput(detail)
        return Item(modality="image", payload=data)

    @property
    def _title(self) -> str:
        return str(self.name) or f"{self.key.modality} {self.key.item[:12]}"


def text_requests(
    fingerprint: str, texts: Sequence[str], *, kind: str = "prompt"
) -> list[EmbeddingRequest]:
    """A request for each text; messages call it a `kind`."""
    return [
        EmbeddingRequest(key=text_key(fingerprint, text), payload=text, name=f'{kind} "{text}"')
        for text in texts
    ]


def image_requests(
    fingerprint: str,
    items: Sequence[ImageItem],
    pixels: Pixels,
    order: Sequence[int],
    limits: Limits | None = None,
) -> list[EmbeddingRequest]:
    """A request for every view of the items whose rows are in `order`, in that order.

    `pixels` (N, K, S, S, 3) holds the views of `items`, row by row. View 0 is sent as the file is,
    or as a PNG where vendors do not take its format; the others are sent as exactly the pixels that
    the student is trained on. View 0 is held against the `limits` of a vendor, if they are given.
    """
    views, size = pixels.shape[1:3]
    requests: list[EmbeddingRequest] = []
    for row in order:
        item = items[row]
        for k, key in enumerate(view_keys(fingerprint, item, views=views, size=size)):
            requests.append(
                whole_image_request(key, item, limits, item.path)
                if k == 0
                else EmbeddingRequest(
                    key=key,
                    payload=_rendered(pixels, row, k),
                    name=f"{item.path} view {k}",
                    made_pixels=size * size,
                )
            )
    return requests


def whole_image_request(
    key: EmbeddingKey, item: ImageFile, limits: Limits | None, name: str | Path
) -> EmbeddingRequest:
    """The request for an image as it is, held against the limits of a vendor, if they are given."""
    converts = limits is not None and is_converted(item, limits)
    is_file = item.is_sent_as_file and not converts
    return EmbeddingRequest(
        key=key,
        payload=item if is_file else whole_image(item, as_png=converts),
        name=name,
        unfit="" if limits is None else why_unfit(item, limits),
        made_pixels=0 if is_file else item.width * item.height,
        is_converted=converts,
    )


def digests_sent(keys: Sequence[EmbeddingKey], requests: Sequence[EmbeddingRequest]) -> list[str]:
    """The SHA-256 digests of what an earlier run sent for these keys.

    "" for a view that cannot be rendered any more, because `requests` does not have it or its file
    has changed.
    """
    asked = set(keys)
    by_key = {request.key: request for request in requests if request.key in asked}
    return [_digest_sent(key, by_key.get(key)) for key in keys]


def _digest_sent(key: EmbeddingKey, request: EmbeddingRequest | None) -> str:
    if key.view == "original":
        return key.item
    if request is None:
        return ""
    try:
        return request.item().sha256
    except BadInput:
        return ""


def _rendered(pixels: Pixels, row: int, k: int) -> Callable[[], bytes]:
    return lambda: png(pixels[row, k])
