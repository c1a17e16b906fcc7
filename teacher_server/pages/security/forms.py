"""Reads the forms of the pages, and only those that a page of the same session sent."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl, urlsplit

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from teacher_server.api.body import media_type, validation_problem
from teacher_server.api.problem_types import Code
from teacher_server.api.problems import Problem
from teacher_server.pages.security.session import Session

Body = TypeVar("Body", bound=BaseModel)
_MAX_BYTES: Final = 64 * 1024
_MAX_FIELDS: Final = 50


async def read_form(request: Request, session: Session | None) -> dict[str, list[str]]:
    """The fields of a form, without those that were left empty.

    Raises a Problem if another site sent it, or a page that is not of this session. A form that
    signs in has no session yet.
    """
    _require_same_origin(request)
    if media_type(request) != "application/x-www-form-urlencoded":
        raise Problem(Code.UNSUPPORTED_MEDIA_TYPE, "the body is not a form of this site")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_BYTES:
            raise Problem(Code.BODY_TOO_LARGE, f"the form is larger than {_MAX_BYTES} bytes")
    try:
        pairs = parse_qsl(body.decode(), max_num_fields=_MAX_FIELDS, errors="strict")
    except ValueError as error:
        raise Problem(Code.INVALID_REQUEST, "the form cannot be read") from error
    fields: dict[str, list[str]] = {}
    for name, value in pairs:
        fields.setdefault(name, []).append(value.strip())
    token = fields.pop("csrf_token", [""])[0]
    if session is not None and not secrets.compare_digest(
        token.encode(), session.csrf_token.encode()
    ):
        reason = "the form is not of this session, so nothing was changed; reload the page"
        raise Problem(Code.INVALID_REQUEST, reason)
    return fields


def whole_number(fields: Mapping[str, list[str]], name: str) -> int | None:
    """A field as an integer, None if it was left empty. Raises a Problem for other text."""
    text = fields.get(name, [""])[0].replace(",", "")
    if not text:
        return None
    if not (text.isascii() and text.isdecimal()) or len(text) > 20:
        raise Problem(Code.INVALID_REQUEST, f"`{name}` is not a whole number", param=name)
    return int(text)


def checked(schema: type[Body], values: Mapping[str, Any]) -> Body:
    """The values as a request body of the API. Raises a Problem that names what is not valid."""
    try:
        return schema.model_validate(dict(values))
    except ValidationError as error:
        raise validation_problem(error) from error


def _require_same_origin(request: Request) -> None:
    site = request.headers.get("sec-fetch-site")
    origin = urlsplit(request.headers.get("origin", "")).netloc
    # Browsers name the site only over HTTPS and on the local machine.
    is_own = site == "same-origin" if site else origin == request.headers.get("host")
    if not is_own:
        raise Problem(Code.INVALID_REQUEST, "the form was sent from another site")
