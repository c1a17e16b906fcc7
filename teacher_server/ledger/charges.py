"""Two-phase charges: reserve before the work, then post with the answer, or void."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, and_, insert, select, update
from sqlalchemy.exc import IntegrityError

from teacher_server.errors import KeyUnknown, ReservationGone
from teacher_server.ledger.engine import reading, writing
from teacher_server.ledger.entry import LedgerEntry
from teacher_server.ledger.price import Price
from teacher_server.ledger.tables import accounts, entries, requests

Clock = Callable[[], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """What a request wants to buy; `payload_sha256` tells a retry from another request."""

    request_id: str
    key_id: str
    idempotency_key: str
    payload_sha256: str
    images: int
    texts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """Units set aside at a frozen price; resolves at most once, by post or by void."""

    purchase: Purchase
    units: int
    price: Price


@dataclass(frozen=True, slots=True)
class Replay:
    """The same purchase was charged before; `body` is the answer, byte for byte."""

    body: bytes


@dataclass(frozen=True, slots=True)
class InFlight:
    """The same purchase is being worked on."""


@dataclass(frozen=True, slots=True)
class KeyReused:
    """The Idempotency-Key belongs to another payload."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The budget does not reach; `remaining` is what is not spent (others may hold some of it)."""

    needed: int
    remaining: int
    is_temporary: bool


Earlier = Replay | InFlight | KeyReused


class Charges:
    """Moves units of a key from budget to reserved to spent; each step is one transaction."""

    def __init__(self, engine: Engine, *, boot_id: str, lease_ms: int, clock: Clock) -> None:
        self._engine = engine
        self._boot_id = boot_id
        self._lease_ms = lease_ms
        self._clock = clock

    def earlier(self, purchase: Purchase) -> Earlier | None:
        """What became of the same Idempotency-Key before, or None; reserves nothing."""
        with reading(self._engine) as connection:
            return _earlier(connection, purchase)

    def reserve(self, purchase: Purchase, price: Price) -> Reservation | Earlier | Refused:
        """Set the units aside, or say why not; never lets spent + reserved exceed the budget."""
        try:
            return self._reserve(purchase, price)
        except IntegrityError:
            # PostgreSQL only: another replica took the Idempotency-Key between look and insert.
            found = self.earlier(purchase)
            if found is None:
                raise
            return found

    def _reserve(self, purchase: Purchase, price: Price) -> Reservation | Earlier | Refused:
        units = price.units(images=purchase.images, texts=purchase.texts)
        now = self._clock()
        with writing(self._engine) as connection:
            found = _earlier(connection, purchase)
            if found is not None:
                return found
            taken = connection.execute(
                update(accounts)
                .where(
                    accounts.c.id == purchase.key_id,
                    accounts.c.spent_units + accounts.c.reserved_units + units
                    <= accounts.c.budget_units,
                )
                .values(reserved_units=accounts.c.reserved_units + units)
            )
            if taken.rowcount == 0:
                return _refusal(connection, purchase.key_id, units)
            connection.execute(
                insert(requests).values(
                    request_id=purchase.request_id,
                    key_id=purchase.key_id,
                    idempotency_key=purchase.idempotency_key,
                    payload_sha256=purchase.payload_sha256,
                    state="reserved",
                    images=purchase.images,
                    texts=purchase.texts,
                    units=units,
                    micro_usd_per_unit=price.micro_usd_per_unit,
                    price_version=price.version,
                    boot_id=self._boot_id,
                    created_ms=now,
                    lease_until_ms=now + self._lease_ms,
                )
            )
        return Reservation(purchase=purchase, units=units, price=price)

    def post(
        self,
        reservation: Reservation,
        *,
        model: str,
        model_fingerprint: str,
        render: Callable[[LedgerEntry], bytes],
    ) -> bytes:
        """Charge and keep the answer in one transaction; the bytes returned are those stored.

        `render` turns the ledger entry into the body, so that the receipt is part of it. Raises
        ReservationGone when the reservation was voided meanwhile; nothing is charged then.
        """
        purchase, units, now = reservation.purchase, reservation.units, self._clock()
        with writing(self._engine) as connection:
            state = connection.scalar(
                select(requests.c.state)
                .where(requests.c.request_id == purchase.request_id)
                .with_for_update()
            )
            if state != "reserved":
                message = "the reservation was voided before it could be charged"
                raise ReservationGone(message)
            account = connection.execute(
                update(accounts)
                .where(accounts.c.id == purchase.key_id)
                .values(
                    reserved_units=accounts.c.reserved_units - units,
                    spent_units=accounts.c.spent_units + units,
                    last_seq=accounts.c.last_seq + 1,
                )
                .returning(accounts)
            ).one()
            entry = LedgerEntry(
                seq=account.last_seq,
                kind="charge",
                request_id=purchase.request_id,
                idempotency_key=purchase.idempotency_key,
                model=model,
                model_fingerprint=model_fingerprint,
                images=purchase.images,
                texts=purchase.texts,
                units=units,
                cost_micro_usd=reservation.price.cost(units),
                price_version=reservation.price.version,
                balance_units=account.budget_units - account.spent_units,
                created_ms=now,
                prev_hash=account.last_hash,
            ).sealed()
            body = render(entry)
            connection.execute(
                update(requests)
                .where(requests.c.request_id == purchase.request_id)
                .values(state="posted", body=body, resolved_ms=now)
            )
            append(connection, purchase.key_id, entry)
        return body

    def void(self, request_id: str) -> bool:
        """Give a reservation back; False when there was none left to give."""
        with writing(self._engine) as connection:
            return _void(connection, [request_id], self._clock()) == 1

    def void_dead(self) -> int:
        """Give back what other boots left reserved; how many. Only the sole server may call it."""
        with writing(self._engine) as connection:
            dead = and_(requests.c.state == "reserved", requests.c.boot_id != self._boot_id)
            ids = connection.scalars(select(requests.c.request_id).where(dead)).all()
            return _void(connection, ids, self._clock())

    def void_expired(self) -> int:
        """Give back every reservation whose lease ran out, whoever held it; how many.

        Safe beside a slow request: its post then finds nothing reserved, and charges nothing.
        """
        now = self._clock()
        with writing(self._engine) as connection:
            late = and_(requests.c.state == "reserved", requests.c.lease_until_ms < now)
            ids = connection.scalars(select(requests.c.request_id).where(late)).all()
            return _void(connection, ids, now)


def append(connection: Connection, key_id: str, entry: LedgerEntry) -> None:
    """Write a sealed entry and make it the head of its key's chain (`last_seq` is the caller's)."""
    connection.execute(insert(entries).values(key_id=key_id, **entry.document()))
    connection.execute(update(accounts).where(accounts.c.id == key_id).values(last_hash=entry.hash))


def _earlier(connection: Connection, purchase: Purchase) -> Earlier | None:
    row = connection.execute(
        select(requests.c.payload_sha256, requests.c.state, requests.c.body).where(
            requests.c.key_id == purchase.key_id,
            requests.c.idempotency_key == purchase.idempotency_key,
            requests.c.state != "voided",
        )
    ).one_or_none()
    if row is None:
        return None
    if row.payload_sha256 != purchase.payload_sha256:
        return KeyReused()
    return Replay(row.body) if row.state == "posted" else InFlight()


def _refusal(connection: Connection, key_id: str, units: int) -> Refused:
    row = connection.execute(
        select(accounts.c.budget_units, accounts.c.spent_units).where(accounts.c.id == key_id)
    ).one_or_none()
    if row is None:
        message = f"no key has the id {key_id!r}"
        raise KeyUnknown(message)
    remaining = row.budget_units - row.spent_units
    return Refused(needed=units, remaining=remaining, is_temporary=units <= remaining)


def _void(connection: Connection, request_ids: Sequence[str], now: int) -> int:
    voided = 0
    for request_id in request_ids:
        row = connection.execute(
            update(requests)
            .where(requests.c.request_id == request_id, requests.c.state == "reserved")
            .values(state="voided", resolved_ms=now)
            .returning(requests.c.key_id, requests.c.units)
        ).one_or_none()
        if row is None:
            continue
        connection.execute(
            update(accounts)
            .where(accounts.c.id == row.key_id)
            .values(reserved_units=accounts.c.reserved_units - row.units)
        )
        voided += 1
    return voided
