"""Reads every response other than 200 as an error that says what was charged."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import ValidationError

from student.errors import AnswerPurged, BudgetExhausted, RefusedItem, VendorError
from student.vendor.schemas import Problem

# Codes about a single item that never change. An unknown 4xx must not be listed: it would be
# recorded, and good images would never be sent again.
ITEM_PROBLEMS = frozenset(
    {"invalid_image", "image_too_large", "image_too_many_pixels", "empty_input", "text_too_long"}
)
# Codes that a smaller batch may avoid.
SIZE_PROBLEMS = frozenset({"body_too_large", "batch_too_large"})
# The vendor says that it can sell nothing until /readyz says otherwise.
OUTAGES = frozenset({"storage_unavailable"})
# The purchase is in the vendor's ledger, and its answer is deleted.
PURGED = "answer_purged"
# Refused before any work, by the vendor or by a proxy, even where no reason is given.
_FREE_UNEXPLAINED = frozenset({401, 403, 404, 405, 413})


def read_problem(
    status: int, content: bytes, *, is_doubtful: bool, printable: Callable[[str], str]
) -> VendorError:
    """The error for a status other than 200; `printable` makes the vendor's words safe to print.

    It is certain that nothing was charged only where the body says so (a proxy's body does not) and
    no earlier attempt of the same purchase is in doubt.
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
    # 409 means that the same purchase is being processed; that request will be charged.
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
        # This response charges nothing; the purchase was charged when it was made.
        return AnswerPurged(detail, charged=True, status=status, code=code, request_id=request_id)
    return VendorError(
        detail,
        charged=charged,
        status=status,
        code=code,
        request_id=request_id,
        index=problem.index,
        items=[
            RefusedItem(index=one.index, code=printable(one.code), detail=printable(one.detail))
            for one in problem.items
        ]
        or [RefusedItem(index=index, code=code, detail=detail) for index in problem.indexes],
    )


def rejected_items(error: VendorError, count: int) -> list[RefusedItem]:
    """Which of `count` items the vendor will never embed; [] if only a smaller batch can tell.

    Raises the error itself if it is not about an item.
    """
    if error.code not in ITEM_PROBLEMS | SIZE_PROBLEMS:
        raise error
    if error.code in ITEM_PROBLEMS:
        named = {
            one.index: one
            for one in error.items
            if one.code in ITEM_PROBLEMS and 0 <= one.index < count
        }
        if error.index is not None and 0 <= error.index < count:
            named.setdefault(error.index, _refused(error, error.index))
        if named:
            return [named[index] for index in sorted(named)]
    return [_refused(error, 0)] if count == 1 else []


def _refused(error: VendorError, index: int) -> RefusedItem:
    return RefusedItem(index=index, code=error.code, detail=error.detail)
