"""Every refusal on the wire: RFC 9457 problem documents with an OpenAI-style `error` inside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

MEDIA_TYPE = "application/problem+json"


class Code(StrEnum):
    """Every machine-readable code of the wire."""

    INVALID_REQUEST = "invalid_request"
    EMPTY_INPUT = "empty_input"
    MISSING_KEY = "missing_key"
    INVALID_KEY = "invalid_key"
    BUDGET_EXHAUSTED = "budget_exhausted"
    REQUEST_EXCEEDS_BUDGET = "request_exceeds_budget"
    INSUFFICIENT_SCOPE = "insufficient_scope"
    UNKNOWN_KEY = "unknown_key"
    UNKNOWN_MODEL = "unknown_model"
    UNKNOWN_REQUEST = "unknown_request"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    REQUEST_TIMEOUT = "request_timeout"
    REQUEST_IN_FLIGHT = "request_in_flight"
    ANSWER_PURGED = "answer_purged"
    BODY_TOO_LARGE = "body_too_large"
    IMAGE_TOO_LARGE = "image_too_large"
    IMAGE_TOO_MANY_PIXELS = "image_too_many_pixels"
    BATCH_TOO_LARGE = "batch_too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    INVALID_IMAGE = "invalid_image"
    IDEMPOTENCY_KEY_REUSED = "idempotency_key_reused"
    HEADERS_TOO_LARGE = "headers_too_large"
    OVERLOADED = "overloaded"
    BUDGET_IN_FLIGHT = "budget_in_flight"
    RATE_LIMITED = "rate_limited"
    TOO_MANY_CONCURRENT = "too_many_concurrent"
    INTERNAL_ERROR = "internal_error"
    NOT_READY = "not_ready"


@dataclass(frozen=True, slots=True)
class Kind:
    """One code of the wire: its status, title and cost, what to do, whether a retry can help."""

    status: int
    title: str
    advice: str
    is_retriable: bool = False
    retry_after: int | None = None
    cost: str = "Nothing was charged."


KINDS: Mapping[Code, Kind] = {
    Code.INVALID_REQUEST: Kind(400, "The request is not valid", "Correct it and send it again."),
    Code.EMPTY_INPUT: Kind(400, "The input is empty", "Leave out empty items."),
    Code.MISSING_KEY: Kind(
        401, "No API key was sent", "Send it as 'Authorization: Bearer sk_<id>_<secret>'."
    ),
    Code.INVALID_KEY: Kind(401, "The API key is not valid", "Check the key, or ask for a new one."),
    Code.BUDGET_EXHAUSTED: Kind(402, "The budget is spent", "Have the key topped up."),
    Code.REQUEST_EXCEEDS_BUDGET: Kind(
        402, "The request costs more than is left", "Send at most `remaining` queries."
    ),
    Code.INSUFFICIENT_SCOPE: Kind(
        403, "The key may not do this", "Use a key that has the scope, or have it widened."
    ),
    Code.UNKNOWN_KEY: Kind(404, "No key has this id", "GET /admin/keys lists them."),
    Code.UNKNOWN_MODEL: Kind(404, "The model is not served here", "GET /v1/models names it."),
    Code.UNKNOWN_REQUEST: Kind(
        404, "No answer is stored under this key", "It was not charged: send the request again."
    ),
    Code.NOT_FOUND: Kind(404, "There is nothing at this path", "GET /docs lists the paths."),
    Code.METHOD_NOT_ALLOWED: Kind(
        405, "The path has no such method", "GET /docs lists the methods."
    ),
    Code.REQUEST_TIMEOUT: Kind(
        408,
        "The request came too slowly",
        "Try again under the same Idempotency-Key.",
        is_retriable=True,
    ),
    Code.REQUEST_IN_FLIGHT: Kind(
        409,
        "The same request is being worked on",
        "Wait and send it again under the same Idempotency-Key.",
        is_retriable=True,
        retry_after=1,
    ),
    Code.ANSWER_PURGED: Kind(
        410,
        "The stored answer was purged",
        "To buy the items anew, send them under a new Idempotency-Key.",
        cost=(
            "Nothing was charged for asking again: the purchase was charged when it was answered, "
            "and stays on the ledger."
        ),
    ),
    Code.BODY_TOO_LARGE: Kind(413, "The body is too large", "Send fewer or smaller items."),
    Code.IMAGE_TOO_LARGE: Kind(413, "An image has too many bytes", "Send it smaller."),
    Code.IMAGE_TOO_MANY_PIXELS: Kind(413, "An image has too many pixels", "Scale it down."),
    Code.BATCH_TOO_LARGE: Kind(413, "The batch has too many items", "Split it."),
    Code.UNSUPPORTED_MEDIA_TYPE: Kind(
        415, "The content type is not read", "Send application/json or multipart/form-data."
    ),
    Code.INVALID_IMAGE: Kind(
        422, "An image cannot be read", "Send a whole JPEG, PNG, WEBP, GIF or BMP."
    ),
    Code.IDEMPOTENCY_KEY_REUSED: Kind(
        422, "The Idempotency-Key belongs to another request", "Use a new one."
    ),
    Code.HEADERS_TOO_LARGE: Kind(431, "The headers are too large", "Send fewer or shorter ones."),
    Code.OVERLOADED: Kind(
        429, "The server is busy", "Wait and try again.", is_retriable=True, retry_after=1
    ),
    Code.BUDGET_IN_FLIGHT: Kind(
        429,
        "Requests in flight hold the rest of the budget",
        "Wait until they end, then try again.",
        is_retriable=True,
        retry_after=1,
    ),
    Code.RATE_LIMITED: Kind(
        429,
        "The key asks too often",
        "Wait as long as Retry-After says.",
        is_retriable=True,
        retry_after=1,
    ),
    Code.TOO_MANY_CONCURRENT: Kind(
        429,
        "The key has too many requests in progress",
        "Wait until one has ended, then try again.",
        is_retriable=True,
        retry_after=1,
    ),
    Code.INTERNAL_ERROR: Kind(
        500, "The server failed", "Try again under the same Idempotency-Key.", is_retriable=True
    ),
    Code.NOT_READY: Kind(
        503, "The server is not ready", "Wait and try again.", is_retriable=True, retry_after=2
    ),
}

_ERROR_TYPES = {
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
}


class Problem(Exception):
    """Raised anywhere in a request; nothing was charged for it. `extra` joins the document.

    `retry_after` seconds stand in for the code's own where the wait is known.
    """

    def __init__(
        self,
        code: Code,
        happened: str,
        *,
        param: str | None = None,
        retry_after: int | None = None,
        **extra: int,
    ) -> None:
        super().__init__(f"{code}: {happened}")
        self.code = code
        self.kind = KINDS[code]
        self.happened = happened
        self.param = param
        self.retry_after = self.kind.retry_after if retry_after is None else retry_after
        self.extra = extra

    def document(self, request_id: str) -> dict[str, Any]:
        """The problem as it goes over the wire."""
        return problem_document(
            self.code, self.happened, request_id=request_id, param=self.param, extra=self.extra
        )

    @property
    def headers(self) -> dict[str, str]:
        """x-should-retry for SDKs, Retry-After where waiting helps, and how to authenticate."""
        headers = {"x-should-retry": "true" if self.kind.is_retriable else "false"}
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        if self.kind.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        if self.code == Code.BODY_TOO_LARGE:
            headers["Connection"] = "close"
        return headers


def problem_document(
    code: Code,
    happened: str,
    *,
    request_id: str,
    param: str | None = None,
    extra: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """The document of one code; `happened` is a clause without its full stop."""
    kind = KINDS[code]
    detail = _encodable(f"{happened[:1].upper()}{happened[1:]}. {kind.cost} {kind.advice}")
    return {
        "type": f"urn:problem:{code}",
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "code": code,
        "request_id": request_id,
        "charged_units": 0,
        "retriable": kind.is_retriable,
        **(extra or {}),
        "error": {
            "message": detail,
            "type": _ERROR_TYPES.get(kind.status, "invalid_request_error"),
            "code": code,
            "param": None if param is None else _encodable(param),
        },
    }


def _encodable(text: str) -> str:
    # A refusal may quote what a client sent, and half of a surrogate pair cannot be sent back.
    return text.encode("utf-8", "backslashreplace").decode()


def respond(request: Request, problem: Problem) -> JSONResponse:
    """The response to a problem, and a note of its code for metrics and the log."""
    request.scope.setdefault("state", {})["problem_code"] = problem.code
    return JSONResponse(
        problem.document(request_id_of(request)),
        status_code=problem.kind.status,
        headers=problem.headers,
        media_type=MEDIA_TYPE,
    )


def request_id_of(request: Request) -> str:
    """The id that the outermost middleware gave this request."""
    return str(request.scope["state"]["request_id"])
