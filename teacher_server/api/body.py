"""Reads request bodies and Idempotency-Keys in the route, after authentication.

FastAPI would read and parse a declared body before it authenticates the caller.
"""

from __future__ import annotations

import re
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from teacher_server.api.problem_types import Code
from teacher_server.api.problems import Problem

Body = TypeVar("Body", bound=BaseModel)
# These bodies have a few short fields, so the parser need not accept megabytes.
_MAX_BYTES = 64 * 1024
_VISIBLE_ASCII = re.compile(r"[\x21-\x7e]{1,255}")
# As the OpenAPI document states it; `checked_idempotency_key` checks it.
VISIBLE_ASCII: dict[str, Any] = {"minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"}


async def read_json(request: Request, schema: type[Body]) -> Body:
    """Read a JSON body of at most 64 KiB; raises a Problem that names what is wrong with it."""
    content_type = media_type(request)
    if content_type != "application/json":
        raise Problem(Code.UNSUPPORTED_MEDIA_TYPE, f"the content type is {content_type[:60]!r}")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_BYTES:
            raise Problem(Code.BODY_TOO_LARGE, f"the body is larger than {_MAX_BYTES} bytes")
    try:
        return schema.model_validate_json(body)
    except ValidationError as error:
        raise validation_problem(error) from error


async def read_body(request: Request) -> bytes:
    """Read the whole body. `request.body()` would keep a copy until the request ends."""
    return b"".join([chunk async for chunk in request.stream()])


def body_size_limit(request: Request, limit: int) -> int:
    """The largest size that the body can have: its Content-Length, or `limit` if that is less
    or missing."""
    declared = request.headers.get("content-length", "")
    return min(int(declared), limit) if declared.isdecimal() else limit


def validation_problem(error: ValidationError) -> Problem:
    """The Problem for a body that does not match its schema; it names the first such field."""
    first = error.errors(include_input=False, include_url=False)[0]
    if not first["loc"]:
        return Problem(
            Code.INVALID_REQUEST, "the body is not a JSON object with the documented fields"
        )
    field = str(first["loc"][0])[:40]
    reason = {"missing": "is missing", "extra_forbidden": "is not a known field"}.get(
        first["type"], f"is not valid ({first['msg'].lower()})"
    )
    return Problem(Code.INVALID_REQUEST, f"`{field}` {reason}", param=field)


def media_type(request: Request) -> str:
    """The content type in lower case, without its parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def is_idempotency_key(value: str) -> bool:
    """Whether the value is 1 to 255 visible ASCII characters."""
    return _VISIBLE_ASCII.fullmatch(value) is not None


def checked_idempotency_key(value: str) -> str:
    """Return a valid Idempotency-Key; raises a Problem for any other value."""
    if not is_idempotency_key(value):
        reason = "the Idempotency-Key must be 1 to 255 visible ASCII characters"
        raise Problem(Code.INVALID_REQUEST, reason, param="Idempotency-Key")
    return value


def request_body(schema: type[BaseModel]) -> dict[str, Any]:
    """OpenAPI's `requestBody` for a route that reads a body of this schema."""
    content = {"schema": {"$ref": f"#/components/schemas/{schema.__name__}"}}
    return {"requestBody": {"required": True, "content": {"application/json": content}}}
