"""What a route reads by itself, once it knows who asks: a JSON body, an Idempotency-Key."""

from __future__ import annotations

import re
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from teacher_server.api.problems import Code, Problem

Body = TypeVar("Body", bound=BaseModel)
# The forms have a few short fields; a parser is not to be fed megabytes for them.
_MOST_BYTES = 64 * 1024
_VISIBLE_ASCII = re.compile(r"[\x21-\x7e]{1,255}")
# What OpenAPI's document says of it; the check is `checked_idempotency_key`.
VISIBLE_ASCII: dict[str, Any] = {"minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"}


async def json_body(request: Request, form: type[Body]) -> Body:
    """The body in this form, 64 KiB at most, or a Problem that names what is wrong with it.

    FastAPI would read a declared body before it asks whose it is.
    """
    content_type = media_type(request)
    if content_type != "application/json":
        raise Problem(Code.UNSUPPORTED_MEDIA_TYPE, f"the content type is {content_type[:60]!r}")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_BYTES:
            raise Problem(Code.BODY_TOO_LARGE, f"the body is larger than {_MOST_BYTES} bytes")
    try:
        return form.model_validate_json(body)
    except ValidationError as error:
        raise invalid(error) from error


async def whole_body(request: Request) -> bytes:
    """The body, for the caller alone: `request.body()` would keep it as long as the request."""
    return b"".join([chunk async for chunk in request.stream()])


def most_bytes(request: Request, limit: int) -> int:
    """How many bytes the body can have: as declared, `limit` at most and where nothing is."""
    declared = request.headers.get("content-length", "")
    return min(int(declared), limit) if declared.isdecimal() else limit


def invalid(error: ValidationError) -> Problem:
    """The Problem that names the first field of a body that is not as documented."""
    first = error.errors(include_input=False, include_url=False)[0]
    if not first["loc"]:
        return Problem(Code.INVALID_REQUEST, "the body is not a JSON object of the documented form")
    field = str(first["loc"][0])[:40]
    reason = {"missing": "is missing", "extra_forbidden": "is not a known field"}.get(
        first["type"], f"is not valid ({first['msg'].lower()})"
    )
    return Problem(Code.INVALID_REQUEST, f"`{field}` {reason}", param=field)


def media_type(request: Request) -> str:
    """The content type without its parameters, in lower case."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def is_idempotency_key(value: str) -> bool:
    """Whether it is 1 to 255 visible ASCII characters."""
    return _VISIBLE_ASCII.fullmatch(value) is not None


def checked_idempotency_key(value: str) -> str:
    """The Idempotency-Key, or the Problem of what cannot be one."""
    if not is_idempotency_key(value):
        happened = "the Idempotency-Key is not 1 to 255 visible ASCII characters"
        raise Problem(Code.INVALID_REQUEST, happened, param="Idempotency-Key")
    return value


def reads(form: type[BaseModel]) -> dict[str, Any]:
    """The `requestBody` of a route that reads this form."""
    schema = {"$ref": f"#/components/schemas/{form.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
