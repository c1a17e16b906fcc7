"""The problem types of the wire: each code with its status, title, cost and advice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Code(StrEnum):
    """The machine-readable codes."""

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
    TEXT_TOO_LONG = "text_too_long"
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
    STORAGE_UNAVAILABLE = "storage_unavailable"


@dataclass(frozen=True, slots=True)
class ProblemType:
    """What a code means: HTTP status, title, cost, advice, and whether a retry can help."""

    status: int
    title: str
    advice: str
    is_retriable: bool = False
    retry_after: int | None = None
    cost: str = "Nothing was charged."


PROBLEM_TYPES: Mapping[Code, ProblemType] = {
    Code.INVALID_REQUEST: ProblemType(
        400, "The request is not valid", "Correct it and send it again."
    ),
    Code.EMPTY_INPUT: ProblemType(400, "The input is empty", "Remove the empty items."),
    Code.MISSING_KEY: ProblemType(
        401, "The API key is missing", "Send it as 'Authorization: Bearer sk_<id>_<secret>'."
    ),
    Code.INVALID_KEY: ProblemType(
        401, "The API key is not valid", "Check the key, or ask for a new one."
    ),
    Code.BUDGET_EXHAUSTED: ProblemType(
        402, "The budget is spent", "Ask the vendor to top up the key."
    ),
    Code.REQUEST_EXCEEDS_BUDGET: ProblemType(
        402, "The request exceeds the remaining budget", "Send at most `remaining` queries."
    ),
    Code.INSUFFICIENT_SCOPE: ProblemType(
        403,
        "The key lacks the required scope",
        "Use a key that has the scope, or ask the vendor to add it.",
    ),
    Code.UNKNOWN_KEY: ProblemType(404, "No key has this id", "GET /admin/keys lists the keys."),
    Code.UNKNOWN_MODEL: ProblemType(
        404, "The model is not served here", "GET /v1/models lists what is served."
    ),
    Code.UNKNOWN_REQUEST: ProblemType(
        404,
        "No answer is stored for this request",
        "Send the request again: it was not charged before.",
    ),
    Code.NOT_FOUND: ProblemType(
        404, "The path does not exist", "GET /openapi.json lists the paths."
    ),
    Code.METHOD_NOT_ALLOWED: ProblemType(
        405, "The path does not support this method", "GET /openapi.json lists the methods."
    ),
    Code.REQUEST_TIMEOUT: ProblemType(
        408,
        "The request did not arrive in time",
        "Try again under the same Idempotency-Key.",
        is_retriable=True,
    ),
    Code.REQUEST_IN_FLIGHT: ProblemType(
        409,
        "The same request is still in progress",
        "Wait, then send it again under the same Idempotency-Key.",
        is_retriable=True,
        retry_after=1,
    ),
    Code.ANSWER_PURGED: ProblemType(
        410,
        "The stored answer was purged",
        "To buy the items again, send them under a new Idempotency-Key.",
        cost=(
            "Nothing was charged now: the purchase was charged when it was first answered, and "
            "that charge stays in the ledger."
        ),
    ),
    Code.BODY_TOO_LARGE: ProblemType(413, "The body is too large", "Send fewer or smaller items."),
    Code.TEXT_TOO_LONG: ProblemType(
        413,
        "A text is longer than the model reads",
        "Shorten the text, or send `truncate: true` to buy the embedding of its beginning.",
    ),
    Code.IMAGE_TOO_LARGE: ProblemType(413, "An image file is too large", "Send a smaller file."),
    Code.IMAGE_TOO_MANY_PIXELS: ProblemType(413, "An image has too many pixels", "Scale it down."),
    Code.BATCH_TOO_LARGE: ProblemType(
        413, "The request has too many items", "Split it into several requests."
    ),
    Code.UNSUPPORTED_MEDIA_TYPE: ProblemType(
        415, "The content type is not supported", "Send application/json or multipart/form-data."
    ),
    Code.INVALID_IMAGE: ProblemType(
        422, "An image cannot be read", "Send a complete JPEG, PNG, WEBP, GIF or BMP file."
    ),
    Code.IDEMPOTENCY_KEY_REUSED: ProblemType(
        422, "The Idempotency-Key was used for another request", "Use a new Idempotency-Key."
    ),
    Code.HEADERS_TOO_LARGE: ProblemType(
        431, "The headers are too large", "Send fewer or shorter headers."
    ),
    Code.OVERLOADED: ProblemType(
        429, "The server is overloaded", "Wait, then try again.", is_retriable=True, retry_after=1
    ),
    Code.BUDGET_IN_FLIGHT: ProblemType(
        429,
        "Open requests have reserved the rest of the budget",
        "Wait until they finish, then try again.",
        is_retriable=True,
        retry_after=1,
    ),
    Code.RATE_LIMITED: ProblemType(
        429,
        "The key exceeds its request rate",
        "Wait for the seconds in Retry-After, then try again.",
        is_retriable=True,
        retry_after=1,
    ),
    Code.TOO_MANY_CONCURRENT: ProblemType(
        429,
        "The key has too many concurrent requests",
        "Wait until a request finishes, then try again.",
        is_retriable=True,
        retry_after=1,
    ),
    Code.INTERNAL_ERROR: ProblemType(
        500,
        "The server failed unexpectedly",
        "Try again under the same Idempotency-Key.",
        is_retriable=True,
    ),
    Code.NOT_READY: ProblemType(
        503, "The server is not ready", "Wait, then try again.", is_retriable=True, retry_after=2
    ),
    Code.STORAGE_UNAVAILABLE: ProblemType(
        503,
        "The vendor's database takes no writes",
        "Wait until /readyz answers 200, then try again under the same Idempotency-Key.",
        is_retriable=True,
        retry_after=10,
    ),
}

# OpenAI's `error.type` for each status; other statuses are an `invalid_request_error`.
OPENAI_ERROR_TYPES = {
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
}
