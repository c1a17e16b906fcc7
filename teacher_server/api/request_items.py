"""Reads each item of a request as a text or as the bytes of an image, or refuses it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from teacher_server.api.embedding_request import InputItem, TextPart
from teacher_server.api.problem_types import Code
from teacher_server.api.problems import Problem
from teacher_server.errors import ImageRefused
from teacher_server.inference.decode_image import ImageLimits, check_size, decode_base64
from teacher_server.inference.image_strings import (
    ACCEPTED_FORMS,
    image_in_text,
    is_data_uri,
    names_an_image,
)

Modality = Literal["text", "image"]


@dataclass(frozen=True, slots=True)
class ItemReader:
    """Reads and checks items within the limits of one vendor; each method may raise Problem."""

    limits: ImageLimits
    max_text_chars: int

    def read(self, index: int, item: InputItem, modality: Modality | None) -> str | bytes:
        """The text, or the bytes of the image file, that an item of a JSON request stands for.

        A plain string is what `modality` says. Without one, a data-URI is the image in it, and
        what only names an image is refused; any other string is a text.
        """
        if isinstance(item, TextPart):
            return item.text
        if not isinstance(item, str):
            return self._image(index, item.image)
        if modality == "image" or (modality is None and is_data_uri(item)):
            return self._image(index, item)
        if modality is None and len(item) <= self.max_text_chars and (what := names_an_image(item)):
            reason = (
                f'item {index} {what}; send {{"text": "…"}} to embed these words, or, for the '
                f"picture, {ACCEPTED_FORMS}"
            )
            raise Problem(Code.INVALID_REQUEST, reason, param="input", index=index)
        return item

    def check(self, index: int, item: str | bytes) -> None:
        """Refuse an item that cannot be embedded, before it is decoded or tokenized."""
        if isinstance(item, str):
            self._check_text(index, item)
            return
        try:
            check_size(item, self.limits)
        except ImageRefused as error:
            raise image_problem(index, error) from error

    def _image(self, index: int, encoded: str) -> bytes:
        try:
            return decode_base64(encoded, self.limits)
        except ImageRefused as error:
            raise image_problem(index, error) from error

    def _check_text(self, index: int, text: str) -> None:
        if not text.strip():
            reason = f"item {index} is an empty text"
            raise Problem(Code.EMPTY_INPUT, reason, param="input", index=index)
        if what := image_in_text(text):
            reason = f"item {index} {what}; {ACCEPTED_FORMS}"
            raise Problem(Code.INVALID_REQUEST, reason, param="input", index=index)
        limit = self.max_text_chars
        if len(text) > limit or (not text.isprintable() and "\0" in text):
            reason = f"item {index} is longer than {limit} characters or contains a NUL"
            raise Problem(Code.INVALID_REQUEST, reason, param="input", index=index)
        try:
            text.encode()
        except UnicodeEncodeError as error:
            reason = f"item {index} is not valid Unicode"
            raise Problem(Code.INVALID_REQUEST, reason, param="input", index=index) from error


def image_problem(index: int, error: ImageRefused) -> Problem:
    """The problem of an image that was refused."""
    return images_problem([(index, error)])


def images_problem(refused: Sequence[tuple[int, ImageRefused]]) -> Problem:
    """The problem of the first image that was refused, which names all of them."""
    index, first = refused[0]
    more = f"; {len(refused)} items of the request are refused" if len(refused) > 1 else ""
    items = [{"index": at, "code": error.code, "detail": f"{error}."} for at, error in refused]
    reason = f"item {index}: {first}{more}"
    return Problem(Code(first.code), reason, param="input", index=index, items=items)
