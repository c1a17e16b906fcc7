"""Problems on the wire: RFC 9457 documents with an OpenAI-style `error` inside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from teacher_server.api.problem_types import OPENAI_ERROR_TYPES, PROBLEM_TYPES, Code

MEDIA_TYPE = "application/problem+json"


class Problem(Exception):
    """Raised anywhere in a request to refuse it; nothing was charged for the request.

    `reason` is a clause without its full stop. `retry_after` (seconds) replaces the default of the
    code where the wait is known. `extra` is added to the document.
    """

    def __init__(
        self,
        code: Code,
        reason: str,
        *,
        param: str | None = None,
        retry_after: int | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.problem_type = PROBLEM_TYPES[code]
        self.happened = reason
        self.param = param
        self.retry_after = self.problem_type.retry_after if retry_after is None else retry_after
        self.extra = extra

    def document(self, request_id: str) -> dict[str, Any]:
        """The problem document."""
        return problem_document(
            self.code, self.happened, request_id=request_id, param=self.param, extra=self.extra
        )

    @property
    def headers(self) -> dict[str, str]:
        """x-should-retry for SDKs, Retry-After where waiting helps, WWW-Authenticate for a 401."""
        headers = {"x-should-retry": "true" if self.problem_type.is_retriable else "false"}
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        if self.problem_type.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        if self.code == Code.BODY_TOO_LARGE:
            headers["Connection"] = "close"
        return headers


def problem_document(
    code: Code,
    reason: str,
    *,
    request_id: str,
    param: str | None = None,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The RFC 9457 document; its detail says what happened, what it cost and what to do next."""
    problem_type = PROBLEM_TYPES[code]
    sentence = f"{reason[:1].upper()}{reason[1:]}."
    detail = _encodable(f"{sentence} {problem_type.cost} {problem_type.advice}")
    return {
        "type": f"urn:problem:{code}",
        "title": problem_type.title,
        "status": problem_type.status,
        "detail": detail,
        "code": code,
        "request_id": request_id,
        "charged_units": 0,
        "retriable": problem_type.is_retriable,
        **(extra or {}),
        "error": {
            "message": detail,
            "type": OPENAI_ERROR_TYPES.get(problem_type.status, "invalid_request_error"),
            "code": code,
            "param": None if param is None else _encodable(param),
        },
    }


def _encodable(text: str) -> str:
    # A reason may quote client input, and half of a surrogate pair cannot be encoded.
    return text.encode("utf-8", "backslashreplace").decode()


def problem_response(request: Request, problem: Problem) -> JSONResponse:
    """The response to a problem; records its code for the metrics and the log."""
    request.scope.setdefault("state", {})["problem_code"] = problem.code
    return JSONResponse(
        problem.document(request_id_of(request)),
        status_code=problem.problem_type.status,
        headers=problem.headers,
        media_type=MEDIA_TYPE,
    )


def request_id_of(request: Request) -> str:
    """The id that the outermost middleware assigned to this request."""
    return str(request.scope["state"]["request_id"])
