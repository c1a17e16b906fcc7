"""Parses and checks the body of an embeddings request, JSON or multipart."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import ValidationError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from teacher_server.api.body import validation_problem
from teacher_server.api.embedding_request import EmbeddingRequest
from teacher_server.api.json_size import has_more_marks, has_token_ids
from teacher_server.api.problem_types import Code
from teacher_server.api.problems import Problem
from teacher_server.api.request_items import ItemReader, images_problem
from teacher_server.canonical_json import canonical_sha256
from teacher_server.errors import ImageRefused, TextRefused
from teacher_server.inference.decode_image import ImageLimits, decode_image
from teacher_server.inference.model_info import Preparation, Prepared
from teacher_server.inference.recorded import RecordedItems
from teacher_server.settings import VendorSettings

EncodingFormat = Literal["float", "base64"]
_FORM_FIELDS = frozenset({"model", "encoding_format", "truncate", "image", "text"})
# Starlette decodes fields with any codec that a client names: punycode takes time quadratic in a
# field's length, and `unicode_escape` yields text that is not valid Unicode.
_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})
_EXPECTED_INPUT = 'must be a string, or a list of strings, {"text": …} and {"image": …} objects'
_NO_IDS = (
    "token ids are not accepted, because each model has a vocabulary of its own; send the texts "
    "(in LangChain: OpenAIEmbeddings(check_embedding_ctx_length=False))"
)


@dataclass(frozen=True, slots=True)
class ParsedRequest:
    """A valid request; each item is a text (str) or the bytes of an image file."""

    model: str
    encoding_format: EncodingFormat
    items: tuple[str | bytes, ...]
    truncate: bool = False

    @property
    def images(self) -> int:
        return sum(isinstance(item, bytes) for item in self.items)

    @property
    def texts(self) -> int:
        return len(self.items) - self.images

    @property
    def payload_sha256(self) -> str:
        """SHA-256 of what is bought: equal for JSON and multipart requests with the same items."""
        digests = [
            ["image", hashlib.sha256(item).hexdigest()]
            if isinstance(item, bytes)
            else ["text", hashlib.sha256(item.encode()).hexdigest()]
            for item in self.items
        ]
        # Only if true, so that purchases from before the field exist keep their digest.
        options = ["truncate"] if self.truncate else []
        return canonical_sha256([self.model, self.encoding_format, digests, *options])


@dataclass(frozen=True, slots=True)
class RequestParser:
    """Parses requests within the limits of one vendor and one model; raises Problem."""

    settings: VendorSettings
    limits: ImageLimits
    model: str
    dim: int

    def from_json(self, body: bytes) -> ParsedRequest:
        """Parse a JSON body; call it in a worker thread, because bodies are large."""
        self._check_parts(body)
        try:
            request = EmbeddingRequest.model_validate_json(body)
        except ValidationError as error:
            raise _invalid(error, hint=f"; {_NO_IDS}" if has_token_ids(body) else "") from error
        if request.dimensions not in (None, self.dim):
            reason = f"the model only has {self.dim} dimensions"
            raise Problem(Code.INVALID_REQUEST, reason, param="dimensions")
        given = [request.input] if isinstance(request.input, str) else request.input
        self._check_count(len(given))
        items = tuple(
            self._reader.read(index, item, request.modality) for index, item in enumerate(given)
        )
        encoding = request.encoding_format or "float"
        return self._checked(ParsedRequest(request.model, encoding, items, bool(request.truncate)))

    @property
    def _reader(self) -> ItemReader:
        return ItemReader(self.limits, self.settings.max_text_chars)

    def _check_parts(self, body: bytes) -> None:
        """Count the values in a body before the parser builds an object for each."""
        # At most 16 marks for each item: {"type": "image_url", "image_url": {"url": "…", "detail":
        # "auto"}}, its strings, and its comma.
        if has_more_marks(body, 16 * (self.settings.max_items + 16)):
            raise self._batch_too_large(hint=f"; {_NO_IDS}" if has_token_ids(body) else "")

    async def from_form(self, request: Request) -> ParsedRequest:
        """Parse a multipart body: the files `image`, then the fields `text`, in the order sent."""
        _check_charset(request)
        limit = self.settings.max_items
        try:
            async with request.form(max_files=limit + 1, max_fields=limit + 8) as form:
                return await self._from_form(form)
        except (HTTPException, UnicodeError) as error:
            if isinstance(error, HTTPException) and "Too many" in str(error.detail):
                raise self._batch_too_large() from error
            raise Problem(Code.INVALID_REQUEST, "the multipart body is malformed") from error

    async def _from_form(self, form: FormData) -> ParsedRequest:
        if unknown := sorted(set(form) - _FORM_FIELDS):
            reason = f"the form field {unknown[0][:40]!r} is not known"
            raise Problem(Code.INVALID_REQUEST, reason, param=unknown[0][:40])
        images, texts = form.getlist("image"), form.getlist("text")
        self._check_count(len(images) + len(texts))
        items: list[str | bytes] = []
        for index, part in enumerate(images):
            if not isinstance(part, UploadFile):
                reason = "a part `image` must be a file (add a filename)"
                raise Problem(Code.INVALID_REQUEST, reason, param="image", index=index)
            items.append(await part.read())
        for index, text in enumerate(texts, start=len(images)):
            if not isinstance(text, str):
                reason = "a part `text` must be a plain field"
                raise Problem(Code.INVALID_REQUEST, reason, param="text", index=index)
            items.append(text)
        model, encoding = form.get("model"), form.get("encoding_format", "float")
        if not isinstance(model, str):
            raise Problem(Code.INVALID_REQUEST, "the form field `model` is missing", param="model")
        if encoding not in ("float", "base64"):
            reason = "`encoding_format` must be float or base64"
            raise Problem(Code.INVALID_REQUEST, reason, param="encoding_format")
        truncate = form.get("truncate", "false")
        if truncate not in ("true", "false"):
            reason = "`truncate` must be true or false"
            raise Problem(Code.INVALID_REQUEST, reason, param="truncate")
        encoding_format: EncodingFormat = "base64" if encoding == "base64" else "float"
        return self._checked(
            ParsedRequest(model, encoding_format, tuple(items), truncate == "true")
        )

    def _checked(self, parsed: ParsedRequest) -> ParsedRequest:
        if parsed.model != self.model:
            reason = f"the model {parsed.model[:100]!r} is not served, {self.model!r} is"
            raise Problem(Code.UNKNOWN_MODEL, reason, param="model")
        reader = self._reader
        for index, item in enumerate(parsed.items):
            reader.check(index, item)
        return parsed

    def _check_count(self, count: int) -> None:
        if count == 0:
            raise Problem(Code.EMPTY_INPUT, "the input has no items", param="input")
        if count > self.settings.max_items:
            raise self._batch_too_large()

    def _batch_too_large(self, hint: str = "") -> Problem:
        reason = f"the input has more than {self.settings.max_items} items{hint}"
        return Problem(Code.BATCH_TOO_LARGE, reason, param="input")


def prepare(
    items: Sequence[str | bytes], *, preparation: Preparation, limits: ImageLimits
) -> list[Prepared]:
    """Decode all images and tokenize all texts.

    Raises a Problem about the first bad image; its `items` name every bad image, so that a client
    need not send the others once for each.
    """
    prepared = []
    refused: list[tuple[int, ImageRefused]] = []
    for index, item in enumerate(items):
        if isinstance(item, str):
            prepared.append(_prepare_text(index, item, preparation))
            continue
        try:
            # Decoded for a recording too, so that it refuses what a model refuses.
            image = decode_image(item, limits)
            found = (
                preparation.prepare_item(item) if isinstance(preparation, RecordedItems) else None
            )
        except ImageRefused as error:
            refused.append((index, error))
            prepared.clear()  # nothing of this request will be embedded
            continue
        if not refused:
            prepared.append(found or preparation.prepare_image(image))
    if refused:
        raise images_problem(refused)
    return prepared


def _prepare_text(index: int, text: str, preparation: Preparation) -> Prepared:
    if not isinstance(preparation, RecordedItems):
        return preparation.prepare_text(text)
    try:
        return preparation.prepare_item(text)
    except TextRefused as error:
        reason = f"item {index}: {error}"
        raise Problem(Code.INVALID_REQUEST, reason, param="input", index=index) from error


def texts_cut(prepared: Sequence[Prepared], *, truncate: bool, context_length: int) -> list[int]:
    """The indexes of the texts that are cut; raises a Problem naming all of them if none may be."""
    cut = [index for index, item in enumerate(prepared) if item.cut_tokens]
    if not cut or truncate:
        return cut
    first = prepared[cut[0]]
    others = f"; too long are also the items {', '.join(map(str, cut[1:]))}" if cut[1:] else ""
    reason = (
        f"item {cut[0]} is {first.num_tokens + first.cut_tokens} tokens long, and the model reads "
        f"{context_length}, marks included{others}"
    )
    raise Problem(
        Code.TEXT_TOO_LONG,
        reason,
        param="input",
        index=cut[0],
        indexes=cut,
        context_length=context_length,
    )


def _check_charset(request: Request) -> None:
    # Parsed as Starlette does, so that it uses the charset that is checked here.
    _, options = parse_options_header(request.headers["content-type"])
    charset = options.get(b"charset", b"utf-8").decode("latin-1")
    if charset.lower() not in _CHARSETS:
        reason = f"the charset of a form must be UTF-8, not {charset[:40]!r}"
        raise Problem(Code.INVALID_REQUEST, reason, param="Content-Type")


def _invalid(error: ValidationError, *, hint: str) -> Problem:
    errors = error.errors(include_input=False, include_url=False)
    if errors[0]["loc"][:1] != ("input",) or errors[0]["type"] == "missing":
        return validation_problem(error)
    parts = (part for error_ in errors if error_["loc"][0] == "input" for part in error_["loc"])
    index = next((part for part in parts if isinstance(part, int)), None)
    extra = {} if index is None else {"index": index}
    return Problem(Code.INVALID_REQUEST, f"`input` {_EXPECTED_INPUT}{hint}", param="input", **extra)
