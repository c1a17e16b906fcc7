"""The client's errors.

StudentError                  1   the root: a CLI catches this and exits with `exit_code`
├── BadInput                  2   an option, a file or a folder cannot be used
│   └── DataError             2   the data set: its layout, its images or its splits
├── TrainingError             8   training failed
└── PurchaseError             4   the purchase failed
    ├── PlanExceedsBudget     3   the plan does not fit the budget or the account; nothing was sent
    ├── SharedBudgetError     4   the books of the shared budget cannot be reached or do not fit
    └── VendorError           4   the vendor refused, failed, or was not understood
        ├── BudgetExhausted   3   the account at the vendor cannot pay (402)
        ├── VendorUnreachable 5   no answer within the limits on attempts and time
        ├── AnswerPurged      4   the purchase was charged and its answer is deleted (410)
        ├── AnswerInDoubt     5   no answer, and the vendor cannot be asked for it
        ├── VendorMisbehaved  6   an answer came and failed a check
        ├── ModelChanged      7   the vendor answers with another model than the planned one
        └── PriceChanged      7   the vendor charges by another price list than the planned one

Each vendor error says what was charged: `charged` is True, False, or None if only the vendor knows.
Then the purchase stays open, and the next run asks the vendor for it under the same key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

BudgetLimit = Literal["client budget", "shared budget", "vendor budget"]
"""Which budget limits a purchase: the client's own, one that it shares with other caches, or the
account at the vendor."""


class StudentError(Exception):
    """Root of the client's errors; the message says what happened and what to do."""

    exit_code: ClassVar[int] = 1


class BadInput(StudentError):
    """An option, a file or a folder cannot be used. Nothing was charged for it, and everything that
    was bought before is stored."""

    exit_code = 2


class DataError(BadInput):
    """The data set cannot be used as it is."""


class TrainingError(StudentError):
    """Training failed."""

    exit_code = 8


class PurchaseError(StudentError):
    """The purchase failed."""

    exit_code = 4


class PlanExceedsBudget(PurchaseError):
    """The plan does not fit the smallest of the client's own budget, the shared budget and the
    account at the vendor.

    `limited_by` is which of these that is. Nothing was sent.
    """

    exit_code = 3

    def __init__(
        self, *, needed: int, remaining: int, limited_by: BudgetLimit = "client budget"
    ) -> None:
        where, remedy = {
            "client budget": ("the budget", "Raise --budget"),
            "shared budget": (
                "the shared budget",
                "Raise it (distill-client shared-budget resize)",
            ),
            "vendor budget": ("the account at the vendor", "Have it raised there"),
        }[limited_by]
        super().__init__(
            f"this needs {needed} queries and {where} has {remaining} left; nothing was sent. "
            f"{remedy}, or ask for fewer images, views or prompts."
        )
        self.needed = needed
        self.remaining = remaining


class SharedBudgetError(PurchaseError):
    """The books of the shared budget cannot be reached, or they are not those of this run.

    What is leased stays leased. Nothing was sent without a lease.
    """


_MONEY = {
    False: "Nothing was charged.",
    True: "It was charged.",
    None: (
        "Only the vendor knows whether it was charged: the purchase stays open, and the next run "
        "asks for it under the same key, so that it is paid once."
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedItem:
    """An item of a batch that the vendor refuses to embed, free of charge."""

    index: int
    code: str
    detail: str


class VendorError(PurchaseError):
    """The vendor refused, failed, or was not understood.

    `status` is 0 if there was no HTTP response, `code` is the vendor's problem code, and `index` is
    the item of the batch that caused the problem, if the vendor named it. `items` are all items
    that the vendor would refuse, where it names them all.
    """

    def __init__(
        self,
        detail: str,
        *,
        charged: bool | None,
        status: int = 0,
        code: str = "",
        request_id: str = "",
        index: int | None = None,
        items: Sequence[RefusedItem] = (),
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.charged = charged
        self.status = status
        self.code = code
        self.request_id = request_id
        self.index = index
        self.items = tuple(items)

    def __str__(self) -> str:
        facts = ", ".join(
            fact
            for fact in (
                f"HTTP {self.status}" if self.status else "",
                self.code,
                f"request {self.request_id}" if self.request_id else "",
            )
            if fact
        )
        money = _MONEY[self.charged]
        if money in self.detail:  # the vendor's own words say so already
            money = ""
        return f"{self.detail}{f' ({facts})' if facts else ''} {money}".rstrip()


class BudgetExhausted(VendorError):
    """The account at the vendor cannot pay for this batch; `remaining` units would still fit."""

    exit_code = 3

    def __init__(
        self,
        detail: str,
        *,
        needed: int,
        remaining: int,
        charged: bool | None = False,
        code: str = "budget_exhausted",
        request_id: str = "",
    ) -> None:
        super().__init__(detail, charged=charged, status=402, code=code, request_id=request_id)
        self.needed = needed
        self.remaining = remaining


class VendorUnreachable(VendorError):
    """The vendor gave no answer within the limits on attempts and time."""

    exit_code = 5


class AnswerPurged(VendorError):
    """The purchase was charged and the vendor has deleted its answer, which is written off."""

    exit_code = 4


class AnswerInDoubt(VendorError):
    """A vendor that knows no purchases gave no answer: its queries are counted as spent."""

    exit_code = 5

    def __str__(self) -> str:
        return (
            f"{self.detail} What was sent and not answered may have been charged, and is counted "
            "as spent. Run again to buy the rest within the budget; what is bought again of it may "
            "be paid twice. `cache-report summary` lists these purchases."
        )


class VendorMisbehaved(VendorError):
    """An answer came and failed a check; none of it is stored."""

    exit_code = 6


class ModelChanged(VendorError):
    """The vendor answers with another model than the plan's; two embedding spaces must not mix."""

    exit_code = 7


class PriceChanged(VendorError):
    """The vendor charges by another price list than the plan's."""

    exit_code = 7
