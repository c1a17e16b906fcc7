"""Purchases whose vendor cannot be asked what became of them: booked first, then asked again."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from cache.paid_cache import Intent
from student.errors import AnswerInDoubt, VendorError, VendorMisbehaved
from student.purchase.embedding_requests import EmbeddingRequest
from student.purchase.queue import PurchaseQueue
from student.purchase.recorder import PurchaseRecorder

MOST_IN_A_ROW = 3
"""So many purchases in doubt, or items refused, without an answer between them end a run."""

MOST_IN_A_RUN = 10
"""So many purchases in doubt end a run, whatever is answered between them."""
PAUSE_SECONDS = 2.0
"""Before the items of the first purchase in doubt are asked for again; longer for the next."""

_MAY_BE_PAID_TWICE = "if its items are bought again, they may have been paid twice"
SENT_BY_A_KILLED_RUN = f"its run was killed before an answer came; {_MAY_BE_PAID_TWICE}"

_log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Doubt:
    """What a run does without the vendor's word: it counts every doubt as spent.

    A purchase in doubt is written off before any of its items is asked for again, so that the
    budget covers both. A vendor that refuses an item says so of the whole request: the item is
    recorded as refused only once the vendor is known to answer others.
    """

    recorder: PurchaseRecorder
    queue: PurchaseQueue
    sleep: Callable[[float], Awaitable[None]]
    _in_a_row: int = 0
    _in_all: int = 0
    _refused: list[tuple[EmbeddingRequest, VendorError]] = field(default_factory=list)

    async def book(
        self, intent: Intent, requests: list[EmbeddingRequest], error: VendorError
    ) -> None:
        """Write a purchase off that may have been charged, and queue its items again.

        Raises the error for an answer that was charged and cannot be used, and AnswerInDoubt after
        too many doubts in a row.
        """
        self.recorder.book_doubt(intent, f"{error.detail} {_MAY_BE_PAID_TWICE.capitalize()}")
        self.queue.put_back(requests)
        if isinstance(error, VendorMisbehaved) and error.charged:
            raise error
        self._in_a_row += 1
        self._in_all += 1
        if self._in_a_row >= MOST_IN_A_ROW or self._in_all >= MOST_IN_A_RUN:
            is_row = self._in_a_row >= MOST_IN_A_ROW
            which = (
                f"{self._in_a_row} purchases in a row" if is_row else f"{self._in_all} purchases"
            )
            detail = f"{which} got no usable answer. The last: {error.detail}"
            raise AnswerInDoubt(detail, charged=None, status=error.status) from error
        await self.sleep(PAUSE_SECONDS * self._in_a_row)

    def refuse(self, request: EmbeddingRequest, error: VendorError) -> None:
        """Note an item that the vendor refuses when it is sent alone. Nothing was charged.

        Raises the error where this is one too many in a row: then the request is at fault.
        """
        self.queue.drop([request])
        self._refused.append((request, error))
        if len(self._refused) >= MOST_IN_A_ROW:
            detail = (
                f"{error.detail} It refused {len(self._refused)} items in a row, each sent alone: "
                "the request, the key or the account is at fault, and no item is marked as refused."
            )
            raise VendorError(
                detail, charged=False, status=error.status, code=error.code
            ) from error

    def end(self) -> None:
        """An answer came: what was refused before it is the items' own fault."""
        self._in_a_row = 0
        self.end_of_queue()

    def end_of_queue(self) -> None:
        """Record the few items that were refused after the last answer, or before any."""
        if len(self._refused) >= MOST_IN_A_ROW:
            return
        for request, error in self._refused:
            self.recorder.refuse(request, code=error.code, detail=error.detail)
        self._refused.clear()
