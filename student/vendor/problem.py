"""Every answer that is not 200, read as an error that says what happened to the money."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import ValidationError

from student.errors import AnswerPurged, BudgetExhausted, VendorError
from student.vendor.schemas import Problem

# Codes that are about one item and will be the same for ever. An unknown 4xx must not be among
# them: remembering it would strike good images off for good.
REFUSED_ITEM = frozenset(
    {"invalid_image", "image_too_large", "image_too_many_pixels", "empty_input"}
)
# Codes that fewer items may cure.
REFUSED_SIZE = frozenset({"body_too_large", "batch_too_large"})
# The purchase is in the vendor's books, and its answer is not kept any more.
PURGED = "answer_purged"
# Refused before any work by whatever stood in front of the vendor, even where no reason is given.
_FREE_UNEXPLAINED = frozenset({401, 403, 404, 405, 413})


def read_problem(
    status: int, content: bytes, *, is_doubtful: bool, printable: Callable[[str], str]
) -> VendorError:
    """The error for a status other than 200; `printable` makes the vendor's words fit to print.

    A refusal is free for certain only where the body says so (a proxy's does not) and no earlier
    attempt of the same purchase is in doubt.
    """
    try:
        problem = Problem.model_validate_json(content)
    except ValidationError:
        is_free = status in _FREE_UNEXPLAINED and not is_doubtful
        return VendorError(
            f"The vendor answered {status} without saying why.",
            charged=False if is_free else None,
            status=status,
            code="unexplained",
        )
    # 409 says that the same purchase is under way, and that one will be charged.
    is_free = problem.charged_units == 0 and status != 409 and not is_doubtful
    charged = False if is_free else None
    detail = printable(problem.detail) or f"The vendor answered {status}."
    code, request_id = printable(problem.code), printable(problem.request_id)
    if status == 402:
        return BudgetExhausted(
            detail,
            needed=problem.needed or 0,
            remaining=problem.remaining or 0,
            charged=charged,
            code=code,
            request_id=request_id,
        )
    if status == 410 and problem.code == PURGED:
        # This answer charges nothing; the purchase that is asked for was charged when it was made.
        return AnswerPurged(detail, charged=True, status=status, code=code, request_id=request_id)
    return VendorError(
        detail,
        charged=charged,
        status=status,
        code=code,
        request_id=request_id,
        index=problem.index,
    )


def guilty_item(error: VendorError, count: int) -> int | None:
    """Which of `count` items will never be embedded; None when only fewer items can tell.

    Raises the error itself when it is about no item at all.
    """
    if error.code not in REFUSED_ITEM | REFUSED_SIZE:
        raise error
    if count == 1:
        return 0
    is_named = error.index is not None and 0 <= error.index < count
    return error.index if is_named and error.code in REFUSED_ITEM else None
