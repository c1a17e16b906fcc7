"""A student behind OpenAI's `/v1/embeddings`: images by the student, texts by what was bought."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import Annotated, Any, Final, Literal

import numpy as np
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from student.data.views import open_rgb
from student.errors import DataError
from student.inference.trained_student import TrainedStudent

MAX_ITEMS: Final = 256
MAX_BODY_BYTES: Final = 64 * 2**20

FindText = Callable[[str], NDArray[np.float32] | None]
"""Returns the bought embedding of a text, or None if it was not bought."""


class _ImageItem(BaseModel):
    model_config = ConfigDict(extra="forbid")
    image: str


class _TextItem(BaseModel):
    model_config = ConfigDict(extra="forbid")
    text: str


class EmbeddingsRequest(BaseModel):
    """The body of a request, in OpenAI's shape; an image is a data-URI, or base64 as {"image"}."""

    input: str | Annotated[list[str | _ImageItem | _TextItem], Field(min_length=1)]
    model: str | None = None
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None
    modality: Literal["image", "text"] | None = None
    user: str | None = None


def embedding_app(trained: TrainedStudent, find_text: FindText) -> FastAPI:
    """Return the application. Raises BadInput for a student without a projection."""
    trained.require_projection()
    app = FastAPI(title="A student's embeddings", docs_url=None, redoc_url=None)
    name, turn = _model_name(trained), Lock()

    @app.get("/livez")
    def livez() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/v1/models")
    def models() -> dict[str, Any]:
        model = {"id": name, "object": "model", "owned_by": "student", "dim": trained.dim}
        return {"object": "list", "data": [model]}

    @app.post("/v1/embeddings")
    def embeddings(body: EmbeddingsRequest) -> dict[str, Any]:
        if body.dimensions not in (None, trained.dim):
            _refuse(f"dimensions: the student's embeddings have {trained.dim} numbers")
        given = [body.input] if isinstance(body.input, str) else body.input
        if len(given) > MAX_ITEMS:
            _refuse(f"input has {len(given)} items; a request may have {MAX_ITEMS}", status=413)
        rows = [_item(index, item, body.modality) for index, item in enumerate(given)]
        vectors = _embedded(trained, rows, find_text, turn)
        texts = sum(isinstance(row, str) for row in rows)
        return {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": _encoded(vector, body)}
                for index, vector in enumerate(vectors)
            ],
            "model": name,
            "usage": {
                "prompt_tokens": 0,
                "total_tokens": 0,
                "images": len(rows) - texts,
                "texts": texts,
            },
        }

    @app.middleware("http")
    async def limit_body(request: Request, call_next: Any) -> Any:
        length = request.headers.get("content-length", "")
        if request.method == "POST" and not (length.isdigit() and int(length) <= MAX_BODY_BYTES):
            message = f"a body needs a Content-Length of at most {MAX_BODY_BYTES} bytes"
            return _problem(413, message)
        return await call_next(request)

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> JSONResponse:
        return _problem(error.status_code, str(error.detail))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:3])
        return _problem(400, f"{where}: {first['msg']}")

    return app


def _model_name(trained: TrainedStudent) -> str:
    return f"student-{str(trained.meta.get('weights_sha256', 'unknown'))[:12]}"


def _problem(status: int, message: str) -> JSONResponse:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return JSONResponse({"error": error}, status_code=status)


def _refuse(message: str, *, status: int = 400) -> None:
    raise HTTPException(status, message)


def _item(index: int, item: str | _ImageItem | _TextItem, modality: str | None) -> str | bytes:
    """A text, or the bytes of an image file."""
    if isinstance(item, _TextItem):
        return item.text
    text = item if isinstance(item, str) else item.image
    is_image = isinstance(item, _ImageItem) or modality == "image"
    is_uri = text.lstrip()[:5].lower() == "data:"
    if not (is_image or is_uri):
        return text
    head, comma, content = text.partition(",")
    if is_uri and not (comma and head.lower().rstrip().endswith(";base64")):
        _refuse(f"item {index}: a data-URI of an image ends in ;base64 before its comma")
    try:
        return base64.b64decode("".join((content if is_uri else text).split()), validate=True)
    except (binascii.Error, ValueError):
        _refuse(f"item {index}: the image is not base64; addresses are not fetched")
        raise


def _embedded(
    trained: TrainedStudent, rows: Sequence[str | bytes], find_text: FindText, turn: Lock
) -> list[NDArray[np.float32]]:
    vectors: dict[int, NDArray[np.float32]] = {}
    pixels: dict[int, NDArray[np.uint8]] = {}
    for index, row in enumerate(rows):
        if isinstance(row, bytes):
            try:
                pixels[index] = trained.pixels([open_rgb(Path(f"item {index}"), row)])[0]
            except DataError as error:
                _refuse(str(error))
        elif (bought := find_text(row)) is not None:
            vectors[index] = bought
        else:
            message = (
                f"item {index}: the embedding of this text was not bought, and the student has "
                "none of texts; an image is a data-URI"
            )
            _refuse(message, status=404)
    if pixels:
        with turn:  # torch uses all its threads for one batch
            found = trained.embeddings_of(np.stack(list(pixels.values())))
        vectors |= dict(zip(pixels, found, strict=True))
    return [vectors[index] for index in range(len(rows))]


def _encoded(vector: NDArray[np.float32], body: EmbeddingsRequest) -> str | list[float]:
    if body.encoding_format == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return [float(value) for value in vector]
