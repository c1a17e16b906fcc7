"""Metered access to the model: every sale reserves queries, embeds, and charges or voids."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from starlette.requests import ClientDisconnect

from teacher_server.api.cancellation import run_uncancelled, uncancelled
from teacher_server.api.problem_types import Code
from teacher_server.api.problems import Problem
from teacher_server.api.render_response import wire_bytes, with_receipt
from teacher_server.errors import EncoderLost
from teacher_server.inference.batcher import EncoderQueue, QueueFull, Vector
from teacher_server.inference.model_info import ModelInfo, Prepared
from teacher_server.ledger.charges import Charges
from teacher_server.ledger.embeddings_digest import embeddings_sha256
from teacher_server.ledger.entry import LedgerEntry
from teacher_server.ledger.purchase import Earlier, Purchase, Refused, Reservation
from teacher_server.operations.metrics import Metrics
from teacher_server.operations.storage import Storage
from teacher_server.settings import VendorSettings
from teacher_server.tracing import span

_log = logging.getLogger("teacher_server.gate")
RenderHead = Callable[[Sequence[Vector], Reservation], bytes]
HasLeft = Callable[[], Awaitable[bool]]
# Formatted in a millisecond: as long as it takes to hand them to a worker thread and back.
_FEW_FLOATS = 2048


@dataclass(frozen=True, slots=True)
class CompletedSale:
    """A charged answer, byte for byte as it is stored, and its ledger entry."""

    body: bytes
    entry: LedgerEntry


class MeteredEncoder:
    """Sells embeddings: the only way from a route to the model."""

    def __init__(
        self,
        queue: EncoderQueue,
        charges: Charges,
        metrics: Metrics,
        *,
        storage: Storage,
        info: ModelInfo,
        settings: VendorSettings,
    ) -> None:
        self._queue = queue
        self._charges = charges
        self._metrics = metrics
        self._storage = storage
        self._info = info
        self._price = settings.price
        self._max_queue = settings.max_queue
        self._answer_seconds = settings.lease_seconds / 2

    @property
    def depth(self) -> int:
        """Items waiting for the model."""
        return self._queue.depth

    @property
    def seconds_since_heartbeat(self) -> float:
        """Seconds since the encoder's last sign of life."""
        return self._queue.seconds_since_heartbeat

    def check_queue(self) -> None:
        """Raise a Problem if the queue is full, before any work is done for the request."""
        if self.depth >= self._max_queue:
            raise Problem(Code.OVERLOADED, "the encoder queue is full")

    async def complete_sale(
        self,
        purchase: Purchase,
        prepared: Sequence[Prepared],
        render_head: RenderHead,
        has_left: HasLeft | None = None,
    ) -> CompletedSale | Earlier | Refused:
        """Embed and charge, or return why not, in which case nothing is charged.

        `render_head` renders the answer without its receipt. `has_left` says whether the client has
        closed the connection; it is given for a client that cannot ask for its answer again, which
        then pays only for an answer that can be sent: ClientDisconnect is raised otherwise. Raises
        Problem if the queue is full or the model does not answer in time. An exception or
        cancellation before the charge voids the reservation; a cancellation after it is ignored.
        """
        may_hold_units = True
        try:
            outcome = await uncancelled(self._charges.submit_reserve(purchase, self._price))
            if not isinstance(outcome, Reservation):
                may_hold_units = False
                return outcome
            vectors = await self._embed(prepared)
            head = await _rendered(render_head, vectors, outcome)
            digest = embeddings_sha256(map(wire_bytes, vectors))
            if has_left is not None and await has_left():
                raise ClientDisconnect
            with span("commit"):
                completed = await self._charge(outcome, head, digest)
            may_hold_units = False
        finally:
            if may_hold_units:
                await self._void(purchase.request_id)
        if has_left is not None:
            await self._require_listener(has_left, completed.entry)
        self._metrics.billed(images=purchase.images, texts=purchase.texts)
        return completed

    async def _require_listener(self, has_left: HasLeft, entry: LedgerEntry) -> None:
        """Refund the charge and raise ClientDisconnect if the client left while it was made."""
        try:
            if not await has_left():
                return
        except asyncio.CancelledError:
            # The server is stopping, but the charge was made: the customer gets the answer.
            return
        try:
            await run_uncancelled(partial(self._charges.refund_unsent, entry))
        except Exception:
            _log.exception(
                "request %s was charged, its client had gone, and it could not be refunded",
                entry.request_id,
            )
        else:
            self._metrics.voided()
        raise ClientDisconnect

    async def _embed(self, prepared: Sequence[Prepared]) -> list[Vector]:
        try:
            async with asyncio.timeout(self._answer_seconds):
                return await self._queue.encode(prepared)
        except QueueFull as error:
            raise Problem(Code.OVERLOADED, str(error)) from error
        except EncoderLost as error:
            raise Problem(Code.NOT_READY, str(error)) from error
        except TimeoutError as error:
            raise Problem(Code.NOT_READY, "the model did not answer in time") from error

    async def _charge(self, reservation: Reservation, head: bytes, digest: str) -> CompletedSale:
        entries: list[LedgerEntry] = []

        def render(entry: LedgerEntry) -> bytes:
            entries.append(entry)
            return with_receipt(head, entry)

        posting = self._charges.submit_post(
            reservation,
            model=self._info.id,
            model_fingerprint=self._info.fingerprint,
            embeddings_sha256=digest,
            render=render,
        )
        try:
            await uncancelled(posting)
        except asyncio.CancelledError:
            # The server is stopping, but if the charge was made, the customer gets the answer.
            if posting.exception() is not None:
                raise
        return CompletedSale(posting.result(), entries[-1])

    async def _void(self, request_id: str) -> None:
        try:
            was_reserved = await uncancelled(self._charges.submit_void(request_id))
        except Exception as error:
            # The caller reports the error that stopped the request, so this error is only logged.
            self._storage.release_later(request_id)
            if self._storage.note(error) is None:
                _log.exception(
                    "the reservation of request %s could not be voided now; it will be in some "
                    "seconds",
                    request_id,
                )
            return
        if was_reserved:
            self._metrics.voided()


async def _rendered(
    render_head: RenderHead, vectors: Sequence[Vector], reservation: Reservation
) -> bytes:
    """The head of the answer; a large one is made in a worker thread."""
    if sum(vector.size for vector in vectors) <= _FEW_FLOATS:
        return render_head(vectors, reservation)
    return await asyncio.to_thread(render_head, vectors, reservation)
