"""Reading the books: entries, stored answers, usage; and what changes them outside a sale."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine, case, func, select, text, update

from teacher_server.database.engine import reading, writing
from teacher_server.database.tables import entries, requests
from teacher_server.ledger import alerts as outbox
from teacher_server.ledger.alerts import Alert
from teacher_server.ledger.audit import Audit, audited, entry_of
from teacher_server.ledger.charges import InFlight, Purged, Replay, outcome_of
from teacher_server.ledger.clock import Clock, unix_ms
from teacher_server.ledger.corrections import Correction, correct, corrections_of
from teacher_server.ledger.entry import LedgerEntry

__all__ = ["Alert", "Audit", "Books", "Correction", "UsageBucket"]

# Answers purged in one transaction, of some 200 kB each: sales wait no longer than that takes.
_PURGED_AT_ONCE = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageBucket:
    """What a key bought in one span of time (Unix seconds, the end not included).

    Corrections made in it count against units and cost, which may so be negative.
    """

    start_time: int
    end_time: int
    images: int
    texts: int
    units: int
    cost_micro_usd: int
    num_model_requests: int


class Books:
    """What is on record; a key only ever sees its own lines."""

    def __init__(self, engine: Engine, *, clock: Clock = unix_ms) -> None:
        self._engine = engine
        self._clock = clock

    def entries(self, key_id: str, *, after: int = 0, limit: int = 1000) -> list[LedgerEntry]:
        """The key's entries with seq > after, in order, at most `limit`."""
        with reading(self._engine) as connection:
            rows = connection.execute(
                select(entries)
                .where(entries.c.key_id == key_id, entries.c.seq > after)
                .order_by(entries.c.seq)
                .limit(limit)
            )
            return [entry_of(row) for row in rows]

    def answer(self, key_id: str, idempotency_key: str) -> Replay | Purged | InFlight | None:
        """The stored answer of a paid request, InFlight while it is worked on, or None.

        Purged when it was charged and the answer is kept no longer.
        """
        with reading(self._engine) as connection:
            row = connection.execute(
                select(requests.c.request_id, requests.c.state, requests.c.body).where(
                    requests.c.key_id == key_id,
                    requests.c.idempotency_key == idempotency_key,
                    requests.c.state != "voided",
                )
            ).one_or_none()
        return None if row is None else outcome_of(row)

    def usage(
        self, key_id: str, *, start_time: int, end_time: int, width: int
    ) -> list[UsageBucket]:
        """Charges by buckets of `width` seconds from `start_time`; empty buckets are left out."""
        number = (entries.c.created_ms // 1000 - start_time) // width
        is_charge = case((entries.c.kind == "charge", 1), else_=0)
        with reading(self._engine) as connection:
            rows = connection.execute(
                select(
                    number.label("number"),
                    func.sum(entries.c.images).label("images"),
                    func.sum(entries.c.texts).label("texts"),
                    func.sum(entries.c.units).label("units"),
                    func.sum(entries.c.cost_micro_usd).label("cost"),
                    func.sum(is_charge).label("calls"),
                )
                .where(
                    entries.c.key_id == key_id,
                    entries.c.kind.in_(("charge", "correction")),
                    entries.c.created_ms >= start_time * 1000,
                    entries.c.created_ms < end_time * 1000,
                )
                # By name: PostgreSQL takes the same expression with other parameters for another.
                .group_by(text("number"))
                .order_by(text("number"))
            ).all()
        return [
            UsageBucket(
                start_time=start_time + int(row.number) * width,
                end_time=min(start_time + (int(row.number) + 1) * width, end_time),
                images=int(row.images),
                texts=int(row.texts),
                units=int(row.units),
                cost_micro_usd=int(row.cost),
                num_model_requests=int(row.calls),
            )
            for row in rows
        ]

    def probe(self) -> None:
        """Prove that the database takes writes; raises what the driver raises when it does not."""
        with writing(self._engine) as connection:
            connection.execute(text("UPDATE boots SET note = note"))

    def verify(self) -> Audit:
        """Recompute every chain and balance, and hold every request and the receipt in every stored
        answer against its entry, in one snapshot of the database.

        The embeddings in an answer are in no chain: forged ones are not noticed.
        """
        with reading(self._engine) as connection:
            return audited(connection)

    def correct(
        self,
        request_id: str,
        *,
        units: int = 0,
        cost_micro_usd: int = 0,
        reason: str,
        actor: str,
        correction_id: str | None = None,
    ) -> LedgerEntry:
        """Give units and cost of the charge `request_id` back, as a new entry; it is returned.

        The entry carries them negative, and the charge's request id as its idempotency_key. Under
        one `correction_id` a charge is corrected once, however often it is asked. Raises
        ChargeUnknown, CorrectionRefused for more than is left of the charge uncorrected, and
        CorrectionReused when the `correction_id` came with other figures.
        """
        with writing(self._engine) as connection:
            return correct(
                connection,
                request_id,
                units=units,
                cost_micro_usd=cost_micro_usd,
                reason=reason,
                actor=actor,
                correction_id=correction_id,
                now=self._clock(),
            )

    def corrections(self, request_id: str | None = None) -> list[Correction]:
        """Every correction, of this charge or of all, oldest first, with its reason."""
        with reading(self._engine) as connection:
            return corrections_of(connection, request_id)

    def purge(self, older_than_ms: int) -> int:
        """Forget the answers charged before this moment (Unix milliseconds); how many.

        The request, its Idempotency-Key and its charge stay for ever: asking again finds Purged,
        and is never charged a second time.
        """
        purged = 0
        while True:
            with writing(self._engine) as connection:
                old = connection.scalars(
                    select(requests.c.request_id)
                    .where(
                        requests.c.state == "posted",
                        requests.c.purged_ms.is_(None),
                        requests.c.resolved_ms < older_than_ms,
                    )
                    .limit(_PURGED_AT_ONCE)
                    .with_for_update(skip_locked=True)
                ).all()
                connection.execute(
                    update(requests)
                    .where(requests.c.request_id.in_(old))
                    .values(body=None, purged_ms=self._clock())
                )
            purged += len(old)
            if len(old) < _PURGED_AT_ONCE:
                return purged

    def pending_alerts(self, limit: int) -> list[Alert]:
        """The undelivered alerts that are due, oldest first, for this caller to deliver.

        It has a minute, in which nobody else is handed them; say then what became of each.
        """
        with writing(self._engine) as connection:
            return outbox.claim(connection, limit=limit, now=self._clock())

    def alert_delivered(self, alert_id: str) -> None:
        """It is never handed out again."""
        with writing(self._engine) as connection:
            outbox.mark_delivered(connection, alert_id, self._clock())

    def alert_failed(self, alert_id: str) -> None:
        """It is handed out again later: after 2 s, 4 s, 8 s, … up to an hour."""
        with writing(self._engine) as connection:
            outbox.mark_failed(connection, alert_id, self._clock())
