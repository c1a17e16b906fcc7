"""The OpenAPI document: what FastAPI cannot know by itself, above all every problem."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from pydantic.json_schema import models_json_schema

from teacher_server.api.admin_schemas import KeyChange, NewCorrection, NewKey, TopUp
from teacher_server.api.problems import KINDS, MEDIA_TYPE, Code, problem_document
from teacher_server.api.schemas import EmbeddingRequest, ProblemDocument

_READ_BY_ROUTES = (EmbeddingRequest, KeyChange, NewCorrection, NewKey, ProblemDocument, TopUp)
HEADERS: dict[str, Any] = {
    name: {"description": text, "schema": {"type": "string"}}
    for name, text in (
        ("Idempotent-Replayed", "`true` when this answer was paid for before."),
        ("x-ratelimit-limit-requests", "Requests a minute that the key may send."),
        ("x-ratelimit-remaining-requests", "How many it may send at once now."),
        ("x-ratelimit-reset-requests", "Until all of them are back: `20ms`, `1s`, `6m0s`."),
        ("RateLimit-Policy", "The key's quotas, by draft-ietf-httpapi-ratelimit-headers-11."),
        ("RateLimit", "What is left of each: requests, concurrent requests, budget in queries."),
    )
}
_EXTRA = {
    Code.BUDGET_EXHAUSTED: {"needed": 1, "remaining": 0},
    Code.REQUEST_EXCEEDS_BUDGET: {"needed": 64, "remaining": 12},
    Code.BUDGET_IN_FLIGHT: {"needed": 8, "remaining": 12},
    Code.INVALID_IMAGE: {"index": 3},
    Code.IMAGE_TOO_LARGE: {"index": 3},
    Code.IMAGE_TOO_MANY_PIXELS: {"index": 3},
}


# What any route may answer, before it is asked: the connection itself is at fault, or too many are.
_ANYWHERE = (
    Code.INVALID_REQUEST,
    Code.REQUEST_TIMEOUT,
    Code.HEADERS_TOO_LARGE,
    Code.NOT_READY,
)


def problems(*codes: Code) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may refuse with these codes, an example for each."""
    by_status: defaultdict[int, list[Code]] = defaultdict(list)
    for code in dict.fromkeys((*codes, *_ANYWHERE)):
        by_status[KINDS[code].status].append(code)
    return {status: _response(codes) for status, codes in sorted(by_status.items())}


def _response(codes: list[Code]) -> dict[str, Any]:
    examples = {
        code.value: {
            "summary": KINDS[code].title,
            "value": problem_document(
                code,
                KINDS[code].title,
                request_id="req_0f8fad5bd9cb469fa165708677289502",
                extra=_EXTRA.get(code),
            ),
        }
        for code in codes
    }
    headers = {
        "x-should-retry": {
            "description": "Whether a retry can help.",
            "schema": {"type": "string", "enum": ["true", "false"]},
        }
    }
    if any(KINDS[code].retry_after is not None for code in codes):
        headers["Retry-After"] = {
            "description": "Seconds to wait.",
            "schema": {"type": "string"},
        }
    return {
        "description": "; ".join(f"`{code}`: {KINDS[code].title}" for code in codes),
        "headers": headers,
        "content": {
            MEDIA_TYPE: {
                "schema": {"$ref": "#/components/schemas/ProblemDocument"},
                "examples": examples,
            }
        },
    }


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """FastAPI's document with the bodies that routes read and refuse by themselves, in place."""
    schemas: dict[str, Any] = document.setdefault("components", {}).setdefault("schemas", {})
    _, definitions = models_json_schema(
        [(form, "validation") for form in _READ_BY_ROUTES],
        ref_template="#/components/schemas/{model}",
    )
    schemas.update(definitions["$defs"])
    # FastAPI promises its own 422 wherever a route has parameters; this app answers those with 400.
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
    """The refusals that routes have in common, named by status and codes; routes refer to them."""
    shared = {}
    for path in paths.values():
        for operation in path.values():
            for status, response in operation["responses"].items():
                refusal = response.get("content", {}).get(MEDIA_TYPE)
                if refusal is not None:
                    name = ".".join((status, *refusal["examples"]))
                    shared[name] = response
                    operation["responses"][status] = {"$ref": f"#/components/responses/{name}"}
    return dict(sorted(shared.items()))
