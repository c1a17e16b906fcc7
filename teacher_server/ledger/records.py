"""Reads the ledger: entries, stored answers, usage; and changes it outside of sales."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Engine, case, func, select, text, update

from teacher_server.database.engine import read_transaction, write_transaction
from teacher_server.database.tables import answers, boots, entries, requests
from teacher_server.ledger import alerts as outbox
from teacher_server.ledger.alerts import Alert
from teacher_server.ledger.answers import purge_in_batches
from teacher_server.ledger.audit import Audit, audit_ledger
from teacher_server.ledger.chain import VerifiedEntries, entry_from_row, newest_entries
from teacher_server.ledger.clock import Clock, unix_ms
from teacher_server.ledger.corrections import Correction, CorrectionRequest, correct, corrections_of
from teacher_server.ledger.entry import LedgerEntry
from teacher_server.ledger.purchase import InFlight, Purged, Replay
from teacher_server.ledger.request_rows import outcome_of


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageBucket:
    """What a key bought in a span of time (Unix seconds, the end exclusive).

    Corrections made in it are subtracted from units and cost, which may become negative.
    """

    start_time: int
    end_time: int
    images: int
    texts: int
    units: int
    cost_micro_usd: int
    num_model_requests: int


class Records:
    """Queries and administrative changes of the ledger."""

    def __init__(self, engine: Engine, *, clock: Clock = unix_ms, boot_id: str = "") -> None:
        self._engine = engine
        self._clock = clock
        self._boot_id = boot_id

    def entries(self, key_id: str, *, after: int = 0, limit: int = 1000) -> list[LedgerEntry]:
        """The key's entries with seq > after, in order, at most `limit`."""
        with read_transaction(self._engine) as connection:
            rows = connection.execute(
                select(entries)
                .where(entries.c.key_id == key_id, entries.c.seq > after)
                .order_by(entries.c.seq)
                .limit(limit)
            )
            return [entry_from_row(row) for row in rows]

    def newest(self, key_id: str, *, before: int | None = None, limit: int = 50) -> VerifiedEntries:
        """The key's newest entries, or those before a seq, verified as in the audit.

        Raises KeyUnknown.
        """
        with read_transaction(self._engine) as connection:
            return newest_entries(connection, key_id, before=before, limit=limit)

    def answer(self, key_id: str, idempotency_key: str) -> Replay | Purged | InFlight | None:
        """The stored answer of a paid request, InFlight while it is in progress, or None.

        Purged if it was charged and its answer was deleted because of its age.
        """
        with read_transaction(self._engine) as connection:
            row = connection.execute(
                select(requests.c.request_id, requests.c.state, answers.c.body)
                .select_from(
                    requests.outerjoin(answers, answers.c.request_id == requests.c.request_id)
                )
                .where(
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
        with read_transaction(self._engine) as connection:
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
                # By name: PostgreSQL treats the same expression with other parameters as different.
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

    def probe(self, num_bytes: int = 1) -> None:
        """Write this much to the row of the running server, and take it back.

        Raises the driver's error if that fails. Two transactions: within one, nothing would have to
        be written.
        """
        # Random, because PostgreSQL compresses.
        filler = secrets.token_hex(num_bytes // 2 + 1)
        own = boots.c.boot_id == self._boot_id
        for note in (filler, ""):
            with write_transaction(self._engine) as connection:
                connection.execute(update(boots).where(own).values(note=note))

    def verify(self) -> Audit:
        """Audit the whole ledger, stored answers included, in one snapshot of the database."""
        with read_transaction(self._engine) as connection:
            return audit_ledger(connection)

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
        """Refund units and cost of the charge `request_id`; returns the new entry.

        The entry has negative figures, and the charge's request id as its idempotency_key. A
        repetition with the same `correction_id` refunds nothing. Raises ChargeUnknown,
        CorrectionRefused if more is refunded than is left of the charge, or CorrectionReused if
        the `correction_id` was used with other figures.
        """
        wanted = CorrectionRequest(
            charge_id=request_id,
            units=units,
            cost_micro_usd=cost_micro_usd,
            reason=reason,
            actor=actor,
            correction_id=correction_id,
        )
        with write_transaction(self._engine) as connection:
            return correct(connection, wanted, self._clock())

    def corrections(self, request_id: str | None = None) -> list[Correction]:
        """All corrections, or those of one charge, oldest first."""
        with read_transaction(self._engine) as connection:
            return corrections_of(connection, request_id)

    def purge(self, older_than_ms: int) -> int:
        """Delete the answers charged before this time (Unix milliseconds); returns how many.

        The request, its Idempotency-Key and its charge stay forever, so that a repetition finds
        Purged and is never charged a second time. No sale waits for more than one batch.
        """
        return sum(self.purge_in_batches(older_than_ms))

    def purge_in_batches(self, older_than_ms: int, *, at_once: int | None = None) -> Iterator[int]:
        """`purge`, a transaction at each step; yields how many answers it deleted."""
        return purge_in_batches(self._engine, older_than_ms, clock=self._clock, at_once=at_once)

    def pending_alerts(self, limit: int) -> list[Alert]:
        """Lease the undelivered alerts that are due, oldest first, for one minute.

        Report the outcome of each with `alert_delivered` or `alert_failed`.
        """
        with write_transaction(self._engine) as connection:
            return outbox.lease_alerts(connection, limit=limit, now=self._clock())

    def alert_delivered(self, alert_id: str) -> None:
        """Record that the alert was delivered; it is never leased again."""
        with write_transaction(self._engine) as connection:
            outbox.mark_delivered(connection, alert_id, self._clock())

    def alert_failed(self, alert_id: str) -> None:
        """Schedule the next attempt: after 2 s, 4 s, 8 s, … up to an hour."""
        with write_transaction(self._engine) as connection:
            outbox.mark_failed(connection, alert_id, self._clock())
