"""Completes FastAPI's OpenAPI document, mainly with the problems of each route."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from pydantic.json_schema import models_json_schema

from teacher_server.api.admin_schemas import KeyChange, NewCorrection, NewKey, TopUp
from teacher_server.api.embedding_request import EmbeddingRequest
from teacher_server.api.problem_types import PROBLEM_TYPES, Code
from teacher_server.api.problems import MEDIA_TYPE, problem_document
from teacher_server.api.schemas import ProblemDocument

_REQUEST_SCHEMAS = (EmbeddingRequest, KeyChange, NewCorrection, NewKey, ProblemDocument, TopUp)
ANSWER_HEADERS: dict[str, Any] = {
    name: {"description": text, "schema": {"type": "string"}}
    for name, text in (
        ("Idempotent-Replayed", "`true` if this is a stored answer that was paid for before."),
        ("x-ratelimit-limit-requests", "Requests per minute that the key may send."),
        ("x-ratelimit-remaining-requests", "Requests that it may send right now."),
        (
            "x-ratelimit-reset-requests",
            "Time until all of them are available again: `20ms`, `1s`, `6m0s`.",
        ),
        ("RateLimit-Policy", "The key's quotas, as in draft-ietf-httpapi-ratelimit-headers-11."),
        (
            "RateLimit",
            "What is left of each quota: requests, concurrent requests, budget in queries.",
        ),
    )
}
_EXTRA: dict[Code, dict[str, int | list[int]]] = {
    Code.BUDGET_EXHAUSTED: {"needed": 1, "remaining": 0},
    Code.REQUEST_EXCEEDS_BUDGET: {"needed": 64, "remaining": 12},
    Code.BUDGET_IN_FLIGHT: {"needed": 8, "remaining": 12},
    Code.INVALID_IMAGE: {"index": 3},
    Code.IMAGE_TOO_LARGE: {"index": 3},
    Code.TEXT_TOO_LONG: {"index": 3, "indexes": [3, 5], "context_length": 77},
    Code.IMAGE_TOO_MANY_PIXELS: {"index": 3},
}
# Any route may answer these, because the connection is at fault or there are too many.
_ANY_ROUTE = (
    Code.INVALID_REQUEST,
    Code.REQUEST_TIMEOUT,
    Code.HEADERS_TOO_LARGE,
    Code.NOT_READY,
)


def problem_responses(*codes: Code) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's `responses` for a route with these problem codes, with an example of each."""
    by_status: defaultdict[int, list[Code]] = defaultdict(list)
    for code in dict.fromkeys((*codes, *_ANY_ROUTE)):
        by_status[PROBLEM_TYPES[code].status].append(code)
    return {status: _response(codes) for status, codes in sorted(by_status.items())}


def _response(codes: list[Code]) -> dict[str, Any]:
    examples = {
        code.value: {
            "summary": PROBLEM_TYPES[code].title,
            "value": problem_document(
                code,
                PROBLEM_TYPES[code].title,
                request_id="req_0f8fad5bd9cb469fa165708677289502",
                extra=_EXTRA.get(code),
            ),
        }
        for code in codes
    }
    headers = {
        "x-should-retry": {
            "description": "Whether a retry can succeed.",
            "schema": {"type": "string", "enum": ["true", "false"]},
        }
    }
    if any(PROBLEM_TYPES[code].retry_after is not None for code in codes):
        headers["Retry-After"] = {
            "description": "Seconds to wait.",
            "schema": {"type": "string"},
        }
    return {
        "description": "; ".join(f"`{code}`: {PROBLEM_TYPES[code].title}" for code in codes),
        "headers": headers,
        "content": {
            MEDIA_TYPE: {
                "schema": {"$ref": "#/components/schemas/ProblemDocument"},
                "examples": examples,
            }
        },
    }


def complete_document(document: dict[str, Any]) -> dict[str, Any]:
    """FastAPI's document with the bodies that routes read themselves, changed in place."""
    schemas: dict[str, Any] = document.setdefault("components", {}).setdefault("schemas", {})
    _, definitions = models_json_schema(
        [(schema, "validation") for schema in _REQUEST_SCHEMAS],
        ref_template="#/components/schemas/{model}",
    )
    schemas.update(definitions["$defs"])
    # FastAPI documents a 422 for each route with parameters; this app answers 400 instead.
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for path in document["paths"].values():
        for operation in path.values():
            unprocessable = operation["responses"].get("422", {})
            if "application/json" in unprocessable.get("content", {}):
                if MEDIA_TYPE in unprocessable["content"]:
                    del unprocessable["content"]["application/json"]
                else:
                    del operation["responses"]["422"]
    document["components"]["schemas"] = dict(sorted(schemas.items()))
    document["components"]["responses"] = _shared(document["paths"])
    return document


def _shared(paths: dict[str, Any]) -> dict[str, Any]:
    """Move the problems that routes share to components, named by status and codes."""
    shared = {}
    for path in paths.values():
        for operation in path.values():
            for status, response in operation["responses"].items():
                problem = response.get("content", {}).get(MEDIA_TYPE)
                if problem is not None:
                    name = ".".join((status, *problem["examples"]))
                    shared[name] = response
                    operation["responses"][status] = {"$ref": f"#/components/responses/{name}"}
    return dict(sorted(shared.items()))
