"""What a foreign vendor's refusal means: what was charged, and whether to ask again."""

from __future__ import annotations

import json
from collections.abc import Callable

from student.errors import BudgetExhausted, VendorError
from student.vendor.retry import retry_after_seconds
from student.vendor.transport import Reply

REFUSED = "refused"
"""The code of a request that the vendor refuses as it is; one of its items may be the cause."""

_ABOUT_THE_REQUEST = frozenset({400, 413, 415, 422})
# Sent by gateways after the request went to the model, or by servers that may have begun to work.
_IN_DOUBT = frozenset({408, 409, 499})
_NEVER_STARTED = frozenset({501, 505})
_ABOUT_MONEY = ("budget", "quota", "billing", "balance", "credit", "payment")


def read_refusal(
    reply: Reply, *, is_doubtful: bool, printable: Callable[[str], str]
) -> VendorError:
    """The error for a reply of another status than 200.

    A refusal (3xx, 4xx, or 503 with Retry-After) is sent before any work and charges nothing. Any
    other 5xx, and the statuses of a request that was given up on its way, may have been charged.
    """
    said = _said(reply.content)
    detail = f"The vendor answered {reply.status}{': ' + printable(said) if said else ''}."
    if reply.status == 402:
        return BudgetExhausted(detail, needed=0, remaining=0, charged=False, code="payment")
    is_free = not is_doubtful and _is_free(reply)
    return VendorError(
        detail,
        charged=False if is_free else None,
        status=reply.status,
        code=_code(reply.status, said),
    )


def may_ask_again(reply: Reply, error: VendorError) -> bool:
    """Whether waiting may help, and nothing can have been charged."""
    return error.charged is False and reply.status in {425, 429, 503}


def _is_free(reply: Reply) -> bool:
    status = reply.status
    if status == 503:
        return retry_after_seconds(reply.headers.get("Retry-After")) is not None
    return (status < 500 and status not in _IN_DOUBT) or status in _NEVER_STARTED


def _code(status: int, said: str) -> str:
    if status not in _ABOUT_THE_REQUEST or any(word in said.lower() for word in _ABOUT_MONEY):
        return "unexplained"
    return "body_too_large" if status == 413 else REFUSED


def _said(content: bytes) -> str:
    """The vendor's own words: `error.message`, `message` or `detail` of a JSON body."""
    try:
        body = json.loads(content)
    except ValueError:
        return ""
    if isinstance(body, list) and body:
        body = body[0]
    for name in ("error", "message", "detail"):
        found = body.get(name) if isinstance(body, dict) else None
        if isinstance(found, dict):
            found = found.get("message")
        if isinstance(found, list):
            found = json.dumps(found)
        if isinstance(found, str) and found:
            return found[:300]
    return ""
