"""The metering gate: the only way from a route to the model, and it opens on a reservation."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from teacher_server.api.problems import Code, Problem
from teacher_server.api.render_response import with_receipt
from teacher_server.api.uncancelled import run_uncancelled
from teacher_server.inference.batcher import Batcher, QueueFull, Vector
from teacher_server.inference.info import ModelInfo, Prepared
from teacher_server.ledger.charges import Charges, Earlier, Purchase, Refused, Reservation
from teacher_server.ledger.entry import LedgerEntry
from teacher_server.ledger.price import Price
from teacher_server.operations.metrics import Metrics

_log = logging.getLogger("teacher_server.gate")
RenderHead = Callable[[Sequence[Vector], Reservation], bytes]


@dataclass(frozen=True, slots=True)
class CompletedSale:
    """A charged answer, byte for byte as it is stored, and its line in the ledger."""

    body: bytes
    entry: LedgerEntry


class MeteredEncoder:
    """Reserve, embed, charge with the answer; or void. Routes have no other hold on the model."""

    def __init__(
        self,
        batcher: Batcher,
        charges: Charges,
        metrics: Metrics,
        *,
        info: ModelInfo,
        price: Price,
        max_queue: int,
        answer_seconds: float,
    ) -> None:
        self._batcher = batcher
        self._charges = charges
        self._metrics = metrics
        self._info = info
        self._price = price
        self._max_queue = max_queue
        self._answer_seconds = answer_seconds

    @property
    def depth(self) -> int:
        """Items waiting for the model."""
        return self._batcher.depth

    @property
    def silence(self) -> float:
        """Seconds since the model's thread last showed life."""
        return self._batcher.silence

    def check_room(self) -> None:
        """Raise the Problem of a full queue, before any work is done for the request."""
        if self.depth >= self._max_queue:
            raise Problem(Code.OVERLOADED, "the queue of the model is full")

    async def sell(
        self, purchase: Purchase, prepared: Sequence[Prepared], render_head: RenderHead
    ) -> CompletedSale | Earlier | Refused:
        """Embed and charge, or say why not, for nothing; `render_head` prints all but the receipt.

        Raises Problem when the model has no room or no time. Whatever ends it before the charge,
        an exception or a cancellation, gives the units back; a cancellation after it is dropped.
        """
        may_hold_units = True
        try:
            outcome = await run_uncancelled(partial(self._charges.reserve, purchase, self._price))
            if not isinstance(outcome, Reservation):
                may_hold_units = False
                return outcome
            vectors = await self._embedded(prepared)
            head = await asyncio.to_thread(render_head, vectors, outcome)
            sold: list[CompletedSale] = []
            try:
                await run_uncancelled(partial(self._charge, outcome, head, sold))
            except asyncio.CancelledError:
                # The cut-off of a stopping server: "nothing was charged" would be a lie by now.
                if not sold:
                    raise
            may_hold_units = False
        finally:
            if may_hold_units:
                await self._void(purchase.request_id)
        self._metrics.billed(images=purchase.images, texts=purchase.texts)
        return sold[0]

    async def _embedded(self, prepared: Sequence[Prepared]) -> list[Vector]:
        try:
            async with asyncio.timeout(self._answer_seconds):
                return await self._batcher.encode(prepared)
        except QueueFull as error:
            raise Problem(Code.OVERLOADED, str(error)) from error
        except TimeoutError as error:
            raise Problem(Code.NOT_READY, "the model did not answer in time") from error

    def _charge(self, reservation: Reservation, head: bytes, sold: list[CompletedSale]) -> None:
        lines: list[LedgerEntry] = []

        def render(entry: LedgerEntry) -> bytes:
            lines.append(entry)
            return with_receipt(head, entry)

        body = self._charges.post(
            reservation,
            model=self._info.id,
            model_fingerprint=self._info.fingerprint,
            render=render,
        )
        sold.append(CompletedSale(body, lines[-1]))

    async def _void(self, request_id: str) -> None:
        try:
            was_reserved = await run_uncancelled(partial(self._charges.void, request_id))
        except Exception:
            # The lease gives the units back; what stopped the request is the error to report.
            _log.exception("request %s could not be voided; its lease will be", request_id)
            return
        if was_reserved:
            self._metrics.voided()
