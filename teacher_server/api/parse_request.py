"""From the bytes of a request to items that can be priced: JSON or multipart, checked whole."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import ValidationError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from teacher_server.api.body import invalid
from teacher_server.api.problems import Code, Problem
from teacher_server.api.schemas import EmbeddingRequest, ImagePart, InputItem, TextPart
from teacher_server.errors import ImageRefused
from teacher_server.inference.decode_image import (
    ImageLimits,
    check_size,
    decode_base64,
    decode_image,
)
from teacher_server.inference.info import Encoder, Prepared
from teacher_server.settings import VendorSettings

EncodingFormat = Literal["float", "base64"]
_FORM_FIELDS = frozenset({"model", "encoding_format", "image", "text"})
# Starlette would decode fields by any codec that a client names: punycode takes the square of a
# field's length, and `unicode_escape` makes what is not Unicode.
_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})
# What begins or parts things in JSON. 8 MiB of `[],` or of `1,` took the parser gigabytes.
_NO_MARKS = bytes(set(range(256)) - set(b"[{,:"))
# Possessive, and content with an end of the body for its closing quote, so that no byte is read
# twice.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_SHAPE = 'must be a string, or a list of strings, {"text": …} and {"image": …} objects'


@dataclass(frozen=True, slots=True)
class ParsedRequest:
    """A well-formed request; an item is a text (str) or the bytes of an image file."""

    model: str
    encoding_format: EncodingFormat
    items: tuple[str | bytes, ...]

    @property
    def images(self) -> int:
        return sum(isinstance(item, bytes) for item in self.items)

    @property
    def texts(self) -> int:
        return len(self.items) - self.images

    @property
    def payload_sha256(self) -> str:
        """The same for the same purchase, however it was put on the wire."""
        digests = [
            ["image", hashlib.sha256(item).hexdigest()]
            if isinstance(item, bytes)
            else ["text", hashlib.sha256(item.encode()).hexdigest()]
            for item in self.items
        ]
        canonical = json.dumps([self.model, self.encoding_format, digests], separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class RequestParser:
    """Reads requests under the limits of one vendor and one model; all methods raise Problem."""

    settings: VendorSettings
    limits: ImageLimits
    model: str
    dim: int

    def from_json(self, body: bytes) -> ParsedRequest:
        """Parse a JSON body; meant for a worker thread, for bodies are large."""
        self._check_parts(body)
        try:
            request = EmbeddingRequest.model_validate_json(body)
        except ValidationError as error:
            raise _invalid(error) from error
        if request.dimensions not in (None, self.dim):
            happened = f"the model has {self.dim} dimensions and no others"
            raise Problem(Code.INVALID_REQUEST, happened, param="dimensions")
        given = [request.input] if isinstance(request.input, str) else request.input
        self._check_count(len(given))
        items = tuple(self._item(index, item, request.modality) for index, item in enumerate(given))
        return self._checked(request.model, request.encoding_format, items)

    def _check_parts(self, body: bytes) -> None:
        """Count what a body holds before a parser builds, and a validator complains of, each."""
        # Five for an item: {"text": "…"}, its two strings, and its comma.
        most = 5 * (self.settings.max_items + 16)
        # Texts may hold more; only then is it worth telling them from the rest.
        if _marks(body) > most and _marks_outside_strings(body, most) > most:
            raise self._batch_too_large()

    async def from_form(self, request: Request) -> ParsedRequest:
        """Parse a multipart body: files `image`, then fields `text`, in the order sent."""
        _check_charset(request)
        most = self.settings.max_items
        try:
            async with request.form(max_files=most + 1, max_fields=most + 8) as form:
                return await self._from_form(form)
        except (HTTPException, UnicodeError) as error:
            if isinstance(error, HTTPException) and "Too many" in str(error.detail):
                raise self._batch_too_large() from error
            raise Problem(Code.INVALID_REQUEST, "the multipart body is malformed") from error

    async def _from_form(self, form: FormData) -> ParsedRequest:
        if unknown := sorted(set(form) - _FORM_FIELDS):
            happened = f"the form field {unknown[0][:40]!r} is not known"
            raise Problem(Code.INVALID_REQUEST, happened, param=unknown[0][:40])
        images, texts = form.getlist("image"), form.getlist("text")
        self._check_count(len(images) + len(texts))
        items: list[str | bytes] = []
        for index, part in enumerate(images):
            if not isinstance(part, UploadFile):
                happened = "a part `image` must be a file (give it a filename)"
                raise Problem(Code.INVALID_REQUEST, happened, param="image", index=index)
            items.append(await part.read())
        for index, text in enumerate(texts, start=len(images)):
            if not isinstance(text, str):
                happened = "a part `text` must be a plain field"
                raise Problem(Code.INVALID_REQUEST, happened, param="text", index=index)
            items.append(text)
        model, encoding = form.get("model"), form.get("encoding_format", "float")
        if not isinstance(model, str):
            raise Problem(Code.INVALID_REQUEST, "the form field `model` is missing", param="model")
        if encoding not in ("float", "base64"):
            happened = "`encoding_format` must be float or base64"
            raise Problem(Code.INVALID_REQUEST, happened, param="encoding_format")
        return self._checked(model, "base64" if encoding == "base64" else "float", tuple(items))

    def _item(
        self, index: int, item: InputItem, modality: Literal["text", "image"] | None
    ) -> str | bytes:
        if isinstance(item, TextPart):
            return item.text
        if isinstance(item, str) and modality != "image":
            return item
        encoded = item.image if isinstance(item, ImagePart) else item
        try:
            return decode_base64(encoded, self.limits)
        except ImageRefused as error:
            raise Problem(
                Code(error.code), f"item {index}: {error}", param="input", index=index
            ) from error

    def _checked(
        self, model: str, encoding: EncodingFormat, items: tuple[str | bytes, ...]
    ) -> ParsedRequest:
        if model != self.model:
            happened = f"the model {model[:100]!r} is not served, {self.model!r} is"
            raise Problem(Code.UNKNOWN_MODEL, happened, param="model")
        for index, item in enumerate(items):
            if isinstance(item, bytes):
                try:
                    check_size(item, self.limits)
                except ImageRefused as error:
                    happened = f"item {index}: {error}"
                    raise Problem(Code(error.code), happened, param="input", index=index) from error
            else:
                self._check_text(index, item)
        return ParsedRequest(model, encoding, items)

    def _check_text(self, index: int, text: str) -> None:
        if not text.strip():
            happened = f"item {index} is an empty text"
            raise Problem(Code.EMPTY_INPUT, happened, param="input", index=index)
        most = self.settings.max_text_chars
        if len(text) > most or (not text.isprintable() and "\0" in text):
            happened = f"item {index} is longer than {most} characters or holds a NUL"
            raise Problem(Code.INVALID_REQUEST, happened, param="input", index=index)
        try:
            text.encode()
        except UnicodeEncodeError as error:
            happened = f"item {index} is not valid Unicode"
            raise Problem(Code.INVALID_REQUEST, happened, param="input", index=index) from error

    def _check_count(self, count: int) -> None:
        if count == 0:
            raise Problem(Code.EMPTY_INPUT, "the input has no items", param="input")
        if count > self.settings.max_items:
            raise self._batch_too_large()

    def _batch_too_large(self) -> Problem:
        happened = f"the input has more than {self.settings.max_items} items"
        return Problem(Code.BATCH_TOO_LARGE, happened, param="input")


def prepare(
    items: Sequence[str | bytes], *, encoder: Encoder, limits: ImageLimits
) -> list[Prepared]:
    """Decode every image wholly and tokenize every text; Problem names the first bad item."""
    prepared = []
    for index, item in enumerate(items):
        if isinstance(item, str):
            prepared.append(encoder.prepare_text(item))
            continue
        try:
            image = decode_image(item, limits)
        except ImageRefused as error:
            happened = f"item {index}: {error}"
            raise Problem(Code(error.code), happened, param="input", index=index) from error
        prepared.append(encoder.prepare_image(image))
    return prepared


def _check_charset(request: Request) -> None:
    # Parsed as Starlette does it, which then finds no other charset than was checked.
    _, options = parse_options_header(request.headers["content-type"])
    charset = options.get(b"charset", b"utf-8").decode("latin-1")
    if charset.lower() not in _CHARSETS:
        happened = f"the charset of a form is UTF-8, not {charset[:40]!r}"
        raise Problem(Code.INVALID_REQUEST, happened, param="Content-Type")


def _marks(part: bytes) -> int:
    return len(part.translate(None, _NO_MARKS))


def _marks_outside_strings(body: bytes, most: int) -> int:
    """How many, counted no further than `most` and a bit; a string counts as one."""
    marks = position = 0
    for string in _STRING.finditer(body):
        marks += _marks(body[position : string.start()]) + 1
        position = string.end()
        if marks > most:
            return marks
    return marks + _marks(body[position:])


def _invalid(error: ValidationError) -> Problem:
    errors = error.errors(include_input=False, include_url=False)
    if errors[0]["loc"][:1] != ("input",) or errors[0]["type"] == "missing":
        return invalid(error)
    parts = (part for one in errors if one["loc"][0] == "input" for part in one["loc"])
    index = next((part for part in parts if isinstance(part, int)), None)
    extra = {} if index is None else {"index": index}
    return Problem(Code.INVALID_REQUEST, f"`input` {_SHAPE}", param="input", **extra)
