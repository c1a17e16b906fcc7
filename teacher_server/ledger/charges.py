"""Two-phase charges: reserve before the work, then post with the answer, or void."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

from sqlalchemy import BigInteger, Connection, Engine, and_, bindparam, insert, select, update

from teacher_server.database.engine import is_synced, read_transaction, write_transaction
from teacher_server.database.prepared import Prepared, Record
from teacher_server.database.server_locks import server_is_dead
from teacher_server.database.tables import accounts, requests
from teacher_server.database.writer import SyncNeeded, Writer
from teacher_server.errors import ReservationGone
from teacher_server.ledger.alerts import record_thresholds
from teacher_server.ledger.answers import store_answer
from teacher_server.ledger.append import append_entry, draft_entry, unknown_key
from teacher_server.ledger.clock import Clock
from teacher_server.ledger.corrections import refund_unsent
from teacher_server.ledger.entry import LedgerEntry
from teacher_server.ledger.period import IS_CURRENT, is_due, renew_period, starts_at
from teacher_server.ledger.purchase import Earlier, Price, Purchase, Refused, Reservation
from teacher_server.ledger.request_rows import find_earlier, find_earlier_now, refused, void

# The names of parameters differ from those of the columns, which are reserved.
_OF_KEY = accounts.c.id == bindparam("of_key")
_NUM_UNITS = bindparam("num_units", type_=BigInteger)
_RESERVE = Prepared(
    update(accounts)
    .where(
        _OF_KEY,
        accounts.c.spent_units + accounts.c.reserved_units + _NUM_UNITS <= accounts.c.budget_units,
        IS_CURRENT,
    )
    .values(reserved_units=accounts.c.reserved_units + _NUM_UNITS)
)
_SPEND = Prepared(
    update(accounts)
    .where(_OF_KEY, IS_CURRENT)
    .values(
        reserved_units=accounts.c.reserved_units - _NUM_UNITS,
        spent_units=accounts.c.spent_units + _NUM_UNITS,
        last_seq=accounts.c.last_seq + 1,
    )
    .returning(accounts)
)
_OPEN_REQUEST = Prepared(
    insert(requests),
    columns=(
        "request_id",
        "key_id",
        "idempotency_key",
        "payload_sha256",
        "state",
        "images",
        "texts",
        "units",
        "micro_usd_per_unit",
        "price_version",
        "boot_id",
        "created_ms",
        "lease_until_ms",
    ),
)
_OF_REQUEST = requests.c.request_id == bindparam("of_request")
_HOLD = Prepared(select(requests).where(_OF_REQUEST).with_for_update())
_POST = Prepared(
    update(requests).where(_OF_REQUEST).values(state="posted", resolved_ms=bindparam("at_ms"))
)


class Charges:
    """Moves units of a key from its budget to reserved to spent, each step in one transaction.

    Each step can be submitted, so that the steps of concurrent requests are committed together.
    """

    def __init__(
        self, engine: Engine, writer: Writer, *, boot_id: str, lease_ms: int, clock: Clock
    ) -> None:
        self._engine = engine
        self._writer = writer
        self._boot_id = boot_id
        self._lease_ms = lease_ms
        self._clock = clock

    def find_earlier(self, purchase: Purchase) -> Earlier | None:
        """The outcome of an earlier request with the same Idempotency-Key; reserves nothing."""
        return find_earlier_now(self._engine, purchase)

    def reserve(self, purchase: Purchase, price: Price) -> Reservation | Earlier | Refused:
        """Reserve the units, or return why not; spent + reserved never exceeds the budget.

        Starts the key's new period if a renewal is due. Raises KeyUnknown.
        """
        return self.submit_reserve(purchase, price).result()

    def submit_reserve(
        self, purchase: Purchase, price: Price
    ) -> Future[Reservation | Earlier | Refused]:
        """`reserve`, as a future."""
        # Not synced: without power, the request ends too, and nothing was charged for it.
        return self._writer.submit(
            partial(self._reserve, purchase, price),
            is_synced=False,
            # PostgreSQL only: another replica inserted the Idempotency-Key since it was looked up.
            on_conflict=partial(self.find_earlier, purchase),
        )

    def _reserve(
        self, purchase: Purchase, price: Price, connection: Connection
    ) -> Reservation | Earlier | Refused:
        units = price.units(images=purchase.images, texts=purchase.texts)
        now = self._clock()
        found = find_earlier(connection, purchase)
        if found is not None:
            return found
        if not _reserve_units(connection, purchase.key_id, units, now):
            # The budget is too small, or the key's period is over and a renewal may suffice.
            _require_sync_to_renew(connection, purchase.key_id, now)
            renew_period(connection, purchase.key_id, now)
            if not _reserve_units(connection, purchase.key_id, units, now):
                return refused(connection, purchase.key_id, units)
        _OPEN_REQUEST.change(
            connection,
            {
                "request_id": purchase.request_id,
                "key_id": purchase.key_id,
                "idempotency_key": purchase.idempotency_key,
                "payload_sha256": purchase.payload_sha256,
                "state": "reserved",
                "images": purchase.images,
                "texts": purchase.texts,
                "units": units,
                "micro_usd_per_unit": price.micro_usd_per_unit,
                "price_version": price.version,
                "boot_id": self._boot_id,
                "created_ms": now,
                "lease_until_ms": now + self._lease_ms,
            },
        )
        return Reservation(purchase=purchase, units=units, price=price)

    def post(
        self,
        reservation: Reservation,
        *,
        model: str,
        model_fingerprint: str,
        embeddings_sha256: str | None = None,
        render: Callable[[LedgerEntry], bytes],
    ) -> bytes:
        """Charge and store the answer in one transaction; returns the stored bytes.

        Units and price are those recorded with the reservation. `render` makes the body from the
        ledger entry, so that the receipt is part of it. `embeddings_sha256` is the digest of its
        embeddings, to which the entry then commits. Raises ReservationGone, and charges
        nothing, if the reservation was voided in the meantime.
        """
        return self.submit_post(
            reservation,
            model=model,
            model_fingerprint=model_fingerprint,
            embeddings_sha256=embeddings_sha256,
            render=render,
        ).result()

    def submit_post(
        self,
        reservation: Reservation,
        *,
        model: str,
        model_fingerprint: str,
        embeddings_sha256: str | None = None,
        render: Callable[[LedgerEntry], bytes],
    ) -> Future[bytes]:
        """`post`, as a future. The last call of `render` is the one that counts."""

        def work(connection: Connection) -> bytes:
            now = self._clock()
            held = _held(connection, reservation.purchase.request_id)
            account = _spend(connection, held, now)
            entry = draft_entry(
                account,
                now,
                kind="charge",
                request_id=held.request_id,
                idempotency_key=held.idempotency_key,
                model=model,
                model_fingerprint=model_fingerprint,
                images=held.images,
                texts=held.texts,
                embeddings_sha256=embeddings_sha256,
                units=held.units,
                cost_micro_usd=held.units * held.micro_usd_per_unit,
                price_version=held.price_version,
            )
            body = render(entry)
            store_answer(connection, held.request_id, body, now)
            _POST.change(connection, {"of_request": held.request_id, "at_ms": now})
            append_entry(connection, held.key_id, entry)
            record_thresholds(connection, account, now)
            return body

        return self._writer.submit(work)

    def void(self, request_id: str) -> bool:
        """Void a reservation; returns whether there was one."""
        return self.submit_void(request_id).result()

    def submit_void(self, request_id: str) -> Future[bool]:
        """`void`, as a future."""
        which = requests.c.request_id == request_id
        # Not synced: without power, the next server voids the reservation of a dead one.
        return self._writer.submit(
            lambda connection: void(connection, which, self._clock()) == 1, is_synced=False
        )

    def refund_unsent(self, charge: LedgerEntry) -> None:
        """Refund a charge whose answer was never sent, by a correction, and delete the answer."""
        with write_transaction(self._engine) as connection:
            refund_unsent(connection, charge, self._clock())

    def void_dead(self) -> int:
        """Void the reservations of dead servers; returns how many.

        With SQLite, only the server that owns the file may call it. With PostgreSQL, a server is
        dead if its lock is free.
        """
        other = and_(requests.c.state == "reserved", requests.c.boot_id != self._boot_id)
        with read_transaction(self._engine) as connection:
            boot_ids = connection.scalars(select(requests.c.boot_id).where(other).distinct()).all()
        voided = 0
        for boot_id in boot_ids:
            with write_transaction(self._engine) as connection:
                if server_is_dead(connection, boot_id):
                    voided += void(connection, requests.c.boot_id == boot_id, self._clock())
        return voided

    def void_expired(self) -> int:
        """Void the reservations with expired leases, of any server; returns how many.

        A request that is still running then finds its reservation gone, and charges nothing.
        """
        now = self._clock()
        with write_transaction(self._engine) as connection:
            return void(connection, requests.c.lease_until_ms < now, now)


def _require_sync_to_renew(connection: Connection, key_id: str, now: int) -> None:
    """Raise SyncNeeded if a renewal, which appends a ledger entry, would not be synced."""
    if is_synced(connection):
        return
    account = connection.execute(select(accounts).where(accounts.c.id == key_id)).one_or_none()
    if account is not None and is_due(account, now):
        raise SyncNeeded


def _held(connection: Connection, request_id: str) -> Record:
    held = _HOLD.row(connection, {"of_request": request_id})
    if held is None or held.state != "reserved":
        message = "the reservation was voided before it could be charged"
        raise ReservationGone(message)
    return held


def _reserve_units(connection: Connection, key_id: str, units: int, now: int) -> bool:
    parameters = {"of_key": key_id, "num_units": units, **starts_at(now)}
    return _RESERVE.change(connection, parameters) == 1


def _spend(connection: Connection, held: Record, now: int) -> Record:
    """Move the units of a request from reserved to spent, in the period that contains `now`."""
    parameters = {"of_key": held.key_id, "num_units": held.units, **starts_at(now)}
    account = _SPEND.row(connection, parameters)
    if account is None:
        renew_period(connection, held.key_id, now)
        account = _SPEND.row(connection, parameters)
    if account is None:
        raise unknown_key(held.key_id)
    return account
